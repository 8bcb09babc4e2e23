"""Whatever the five functions raise, wherever they run, costs a document or is told with its line.

A table of kinds of exceptions by places; with real processes in test_guards.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.errors import (
    DataError,
    Fault,
    Full,
    FunctionsError,
    HandfulError,
    ManyFaults,
    NotReady,
    OutOfResources,
    SettingsError,
    StepError,
    UserError,
    exceptions,
)
from handful.experiment.context import Experiment, open_experiment
from handful.inference.works import Copy, EncodeBatch, ProcessBatch
from handful.layout import ARTIFACTS
from handful.pipeline.check.tried import _encode
from handful.progress import Silent
from handful.steps.prepare.encoding.encode import EncodeShard
from handful.steps.prepare.encoding.instance import Instance, Instances
from handful.steps.prepare.encoding.sampling import check_sample, features_of
from handful.steps.prepare.encoding.schema import row_features
from handful.steps.reconcile.processing.processor import Place, Task, process
from handful.training.calls import call
from handful.user_functions.load import Functions, load_functions
from handful.user_functions.workers.heartbeat import Gauge
from handful.user_functions.workers.messages import Desk, Done, Loss
from tests.support.preparing import bench

CLASSES = """
import asyncio, errno, sys

class Panic(BaseException): ...
class Mute(Exception):
    def __str__(self): raise SystemExit(0)
    __repr__ = __str__
class NoText(Exception):
    def __str__(self): return 7
    __repr__ = __str__
class Wants(Exception):
    def __init__(self, one, *, two):
        self.unpicklable = lambda: (one, two)
class Surrogate(Exception):
    def __str__(self): return "half \\ud800"
"""
KINDS = {
    "a plain error": ("raise ValueError('a bad page')", "ValueError: a bad page"),
    "sys.exit(0)": ("sys.exit(0)", "SystemExit: 0"),
    "sys.exit()": ("sys.exit()", "SystemExit"),
    "a panic": ("raise Panic('index out of range')", "Panic: index out of range"),
    "a library's interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "CancelledError": ("raise asyncio.CancelledError('off')", "CancelledError: off"),
    "StopIteration": ("next(iter([]))", "StopIteration"),
    "no message": ("raise Mute", "Mute: (its message cannot be read)"),
    "no text": ("raise NoText", "NoText: (its message cannot be read)"),
    "arguments": ("raise Wants(1, two=2)", "Wants: "),
    "half a character": ("raise Surrogate", "Surrogate: half \\ud800"),
    "a group": (
        "raise ExceptionGroup('some', [KeyError('x'), Mute()])",
        "some (2 sub-exceptions), the first of them KeyError: 'x'",
    ),
    "a group of all": ("raise BaseExceptionGroup('some', [Panic('p')])", "the first of them Panic"),
    "from an exit": ("\n        try: sys.exit(0)\n        finally: 1 / 0", "ZeroDivisionError"),
}
"""What is raised → how, and what is told of it."""
FIVE = f"""
{CLASSES}
from datasets import Features, Sequence, Value

class Sly(dict):
    def __iter__(self): bad()
    keys = items = __getitem__ = __iter__

def bad():
    if True:
        BODY

def process_func(artifact_path):
    (artifact_path / "half").write_text("x")
    bad()

def get_dataset_features():
    bad()

def encode_data(instance):
    return Sly() if instance.id == "sly" else bad() if instance.id == "bad" else {{"ids": [1]}}

def load_model():
    bad()

def compute_metrics():
    bad()
"""


@pytest.fixture(autouse=True)
def _listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the command line and the workers are; put back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(exceptions._Outside, "listening", False)
    exceptions.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def made(folder: Path, source: str) -> Experiment:
    one = bench(folder, 1, source)
    return open_experiment(one.directory, (), Silent(), folder / "scratch")


def loaded(folder: Path, body: str) -> tuple[Experiment, Functions]:
    experiment = made(folder, FIVE.replace("BODY", body))
    return experiment, load_functions(experiment.directory)


def desk(experiment: Experiment, folder: Path) -> Desk:
    return Desk(experiment.directory, experiment.settings, Gauge(folder / "gauge"))


def told_features(experiment: Experiment, functions: Functions) -> str:
    with pytest.raises(FunctionsError) as raised:
        features_of(functions, {"letter": 0}, "tiny", experiment.settings)
    return str(raised.value)


def told_load_model(_: Experiment, functions: Functions) -> str:
    with pytest.raises(UserError) as raised:
        call(functions, "load_model")
    return str(raised.value)


def told_compute_metrics(_: Experiment, functions: Functions) -> str:
    with pytest.raises(UserError) as raised:
        call(functions, "compute_metrics")
    return str(raised.value)


def features() -> Any:
    from datasets import Features, List, Value

    return row_features(Features({"ids": List(Value("int32"))}))


def told_check(experiment: Experiment, functions: Functions) -> str:
    """`check` calls encode_data in its own process."""
    bad = Instance("bad", "letter", {})
    checks = check_sample(
        functions,
        features(),
        [bad],
        label2id={"letter": 0},
        model_name="tiny",
        settings=experiment.settings,
    )
    assert checks[0].raised
    with pytest.raises(UserError) as raised:
        _encode(functions, features(), [bad], "tiny", {"letter": 0}, experiment.settings)
    assert checks[0].found[:40] in str(raised.value)
    return f"{checks[0].place} encode_data {checks[0].found}"


IDS = ("good-1", "bad", "good-2", "sly", "good-3")


def told_shard(experiment: Experiment, _: Functions) -> str:
    work = EncodeShard(
        model="tiny",
        label2id={"letter": 0},
        instances=Instances(Path(), IDS, ("letter",) * 5, ({},) * 5),
        patience=60,
        number=0,
        features=features().to_dict(),
        path=experiment.directory / "shard",
    )
    shard = work.do(desk(experiment, experiment.directory))
    assert shard.rows == 3
    bad, sly = shard.quarantined
    assert (bad.artifact_id, sly.artifact_id) == ("bad", "sly")
    assert bad.error == sly.error
    line = next(line for line in bad.traceback.splitlines() if "functions.py" in line)
    return f"functions.py:{line.split('line ')[1]} encode_data {bad.error}"


def told_predict(experiment: Experiment, _: Functions) -> str:
    work = EncodeBatch(
        model="tiny",
        label2id={"letter": 0},
        instances=Instances(Path(), IDS, ("",) * 5, ({},) * 5),
        patience=60,
        features=features().to_dict(),
    )
    rows = work.do(desk(experiment, experiment.directory))
    assert rows.ids == ["good-1", "good-2", "good-3"]
    assert set(rows.failed) == {"bad", "sly"}
    return str(rows.failed["bad"])


def told_process(experiment: Experiment, functions: Functions) -> str:
    experiment.store.write(f"{ARTIFACTS}/one/raw.txt", b"x")
    scratch = experiment.directory / "scratch"
    place = Place(experiment.directory, experiment.settings, experiment.store, scratch)
    task = Task("one", "letter", None, "{}", ("raw.txt",), 60.0)
    failure = process(place, functions, task, others_went_well=False).failure
    assert not (experiment.directory.parent / f"store/exp/{ARTIFACTS}/one/half").exists()
    return f"{failure} process_func"


def told_process_when_predicting(experiment: Experiment, _: Functions) -> str:
    folder = experiment.directory / "copy"
    folder.mkdir()
    copies = (Copy("one", None, folder, ()),)
    work = ProcessBatch(copies=copies, store=experiment.store, patience=60)
    return str(work.do(desk(experiment, experiment.directory))["one"])


def test_a_document_pays_for_a_worker_only_if_it_was_in_hand() -> None:
    task = Task("one", "letter", None, "{}", ("raw.txt",), 2.0)

    def loss(status: int, *, is_late: bool = False, is_ready: bool = True) -> Loss:
        return Loss("it is gone", is_late, is_ready, status, "")

    told = [
        task.without(range(1), one)
        for one in (loss(-9, is_late=True), loss(-9), loss(-99), loss(3))
    ]
    assert [one.result.failure for one in told if isinstance(one, Done)] == [
        "process_func took longer than PROCESS_TIMEOUT = 2 s and was stopped",
        "process_func ended its process with signal 9 (SIGKILL); "
        "signal 9 often means that memory ran out",
        "process_func ended its process with signal 99 (unknown)",
        "process_func ended its process with status 3",
    ]
    assert task.without(range(0), loss(3)) == replace(task, losses=1)
    with pytest.raises(StepError, match=r"status 3 while it loaded functions\.py"):
        task.without(range(0), loss(3, is_ready=False))


@pytest.mark.parametrize("kind", [SettingsError, FunctionsError, NotReady, Full, HandfulError])
def test_an_error_crosses_a_process_as_it_is(kind: type[HandfulError]) -> None:
    faults = [Fault("here", "one", "do it"), Fault("there", "two")]
    error: Any = kind(faults) if issubclass(kind, ManyFaults) else kind("one", where="here")
    again = exceptions.error_from_json(json.loads(json.dumps(exceptions.error_to_json(error))))
    assert (type(again), str(again)) == (type(error), str(error))


PLACES: dict[str, Callable[[Experiment, Functions], str]] = {
    "get_dataset_features": told_features,
    "load_model": told_load_model,
    "compute_metrics": told_compute_metrics,
    "encode_data in check": told_check,
    "encode_data": told_shard,
    "encode_data in predict": told_predict,
    "process_func": told_process,
    "process_func in predict": told_process_when_predicting,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_raised_inside_is_told_with_function_and_line(tmp_path: Path, kind: str) -> None:
    body, words = KINDS[kind]
    experiment, functions = loaded(tmp_path, body)
    for where, told_by in PLACES.items():
        told = told_by(experiment, functions)
        assert words in told, where
        assert where.split()[0] in told, where
        assert "functions.py:" in told, where


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_raised_at_import_is_a_fault_of_the_file(tmp_path: Path, kind: str) -> None:
    body, words = KINDS[kind]
    experiment = made(tmp_path, f"{CLASSES}\nif True:\n    if True:\n        {body}\n")
    with pytest.raises(FunctionsError) as raised:
        load_functions(experiment.directory)
    assert words in str(raised.value)
    assert "functions.py:" in str(raised.value)
    assert raised.value.exit_status == 2


BATCHED = """
import handful
encode_one = encode_data
@handful.batched
def encode_data(instances):
    return [encode_one(one) for one in instances]
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_batched_function_loses_that_document_alone(tmp_path: Path, kind: str) -> None:
    body, words = KINDS[kind]
    experiment = made(tmp_path, FIVE.replace("BODY", body) + BATCHED)
    assert words in told_shard(experiment, load_functions(experiment.directory))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_passes_the_guard(tmp_path: Path, number: signal.Signals) -> None:
    body = f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(0)"
    experiment, functions = loaded(tmp_path, body)
    for told_by in PLACES.values():
        with pytest.raises(KeyboardInterrupt):
            told_by(experiment, functions)
    at_import = made(tmp_path / "at-import", body)
    with pytest.raises(KeyboardInterrupt):
        load_functions(at_import.directory)


def test_an_interrupt_is_taken_for_a_signal_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, say, which has a handler of its own."""
    monkeypatch.setattr(exceptions._Outside, "listening", False)
    _, functions = loaded(tmp_path, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        call(functions, "load_model")


SHORT = {
    "open files": ("raise OSError(errno.EMFILE, 'Too many open files')", "ulimit -n"),
    "files of the system": ("raise OSError(errno.ENFILE, 'File table overflow')", "ulimit -n"),
    "disk": ("raise OSError(errno.ENOSPC, 'No space left on device', '/tmp/x')", "no room is left"),
    "file size": ("raise OSError(errno.EFBIG, 'File too large')", "ulimit -f"),
    "memory of the system": ("raise OSError(errno.ENOMEM, 'Cannot allocate memory')", "no memory"),
    "threads": ('raise RuntimeError("can\'t start new thread")', "ulimit -u"),
    "in other words": ("raise RuntimeError('IO: Too many open files (os error 24)')", "ulimit -n"),
    "a folder for temporary files": (
        'raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []")',
        "TMPDIR",
    ),
    "a library that does not fit": (
        "raise ImportError('libx.so: failed to map segment from shared object')",
        "no memory",
    ),
    "a cause": (
        "\n        try: raise OSError(errno.EMFILE, 'Too many')\n"
        "        except OSError as e: raise ValueError('a bad page') from e",
        "ulimit -n",
    ),
}


@pytest.mark.parametrize("kind", SHORT)
def test_what_the_machine_lacks_is_no_documents_fault(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exceptions, "memory_is_short", lambda: True)
    body, words = SHORT[kind]
    experiment, functions = loaded(tmp_path, body)
    for where, told_by in PLACES.items():
        if words == "no memory" and where in {"encode_data", "encode_data in predict"}:
            continue  # a document before it went well: see below
        with pytest.raises((OutOfResources, Full)) as raised:
            told_by(experiment, functions)
        assert words in str(raised.value), where
        assert raised.value.exit_status == 1
    if "memory" not in kind:
        at_import = made(
            tmp_path / "at-import", f"{CLASSES}\nif True:\n    if True:\n        {body}"
        )
        with pytest.raises((OutOfResources, Full), match="no "):
            load_functions(at_import.directory)


def test_memory_is_the_documents_own_fault_where_others_had_enough(tmp_path: Path) -> None:
    experiment, functions = loaded(tmp_path, "raise MemoryError")
    assert "MemoryError" in told_shard(experiment, functions)
    assert "MemoryError" in told_predict(experiment, functions)
    assert "MemoryError" in told_process(experiment, functions)


@pytest.mark.parametrize("error", [KeyError("No space left on device"), ValueError("disk is full")])
def test_words_of_a_document_are_no_shortage(error: Exception) -> None:
    assert exceptions.shortage(error) is None


def test_another_eagain_is_no_shortage() -> None:
    assert exceptions.shortage(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))) is None


def test_handfuls_own_errors_pass(tmp_path: Path) -> None:
    body = "from handful.errors import DataError; raise DataError('as it is')"
    _, functions = loaded(tmp_path, body)
    with pytest.raises(DataError, match="as it is"):
        call(functions, "load_model")
