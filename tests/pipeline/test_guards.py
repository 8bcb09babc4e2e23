"""The five functions end their own process, or mean to: with the command line and real processes.

The kinds of exceptions are in tests/unit/errors/test_exceptions.py; here is where they are raised.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.tiny import FUNCTIONS, HANDFUL, Tiny, make

HEAD = "import os, sys\nclass Panic(BaseException): ...\n"
LOAD = """
def load_model(model_name, label2id):
    from transformers import AutoModelForSequenceClassification
    return AutoModelForSequenceClassification.from_pretrained(
        model_name, num_labels=len(label2id), ignore_mismatched_sizes=True
    )
"""
METRICS = """
def compute_metrics(predictions, references):
    return {"macro_f1": float((predictions == references).mean())}
"""
BODIES = {
    "process_func": '    (artifact_path / "label.json")',
    "get_dataset_features": "    return Features(",
    "encode_data": "    known = vocabulary(model_name)\n",
    "load_model": "    from transformers",
    "compute_metrics": '    return {"macro_f1"',
}
WHOLE = HEAD + FUNCTIONS + LOAD + METRICS


def misbehaving(function: str, line: str) -> str:
    """functions.py in which `function` does `line` first; `at import`: the file does."""
    if function == "at import":
        return WHOLE.replace(HEAD, f"{HEAD}{line}\n")
    body = BODIES[function]
    assert body in WHOLE
    return WHOLE.replace(body, f"    {line}\n{body}", 1)


@pytest.fixture(scope="module")
def reconciled(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("guards"), artifacts=30)
    (tiny.experiment / "functions.py").write_text(WHOLE)
    tiny.settings(EPOCHS="1")
    done = tiny.handful("reconcile")
    assert done.returncode == 0, done.stderr
    return tiny


@pytest.fixture
def copy(reconciled: Tiny, tmp_path: Path) -> Tiny:
    shutil.copytree(reconciled.root, tmp_path / "copy")
    return Tiny(tmp_path / "copy")


@pytest.fixture
def fresh(tmp_path: Path) -> Tiny:
    """One whose production nobody has moved."""
    tiny = make(tmp_path / "fresh", artifacts=30)
    tiny.settings(EPOCHS="1")
    return tiny


ENDS = ("sys.exit(0)", "raise Panic('index')", "raise KeyboardInterrupt")


WHERE = [
    ("at import", "check"),
    ("at import", "reconcile"),
    ("process_func", "reconcile"),
    ("get_dataset_features", "check"),
    ("get_dataset_features", "run"),
    ("encode_data", "check"),
    ("load_model", "check"),
    ("load_model", "run"),
    ("compute_metrics", "check"),
    ("compute_metrics", "run"),
]


@pytest.mark.slow
@pytest.mark.parametrize("line", ENDS[::2])
@pytest.mark.parametrize(("function", "command"), WHERE)
def test_it_never_ends_well_with_nothing_done(
    fresh: Tiny, function: str, command: str, line: str
) -> None:
    (fresh.experiment / "functions.py").write_text(misbehaving(function, line))
    done = fresh.handful(command)
    # So many artifacts fail that the step does.
    assert done.returncode == (1 if function == "process_func" else 2), done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert "functions.py:" in done.stderr
    assert function == "at import" or function in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("function", ["encode_data", "process_func"])
def test_a_document_costs_itself_alone(fresh: Tiny, function: str) -> None:
    whose = "instance" if function == "encode_data" else "artifact"
    kinds = enumerate((*ENDS, "os._exit(0)", "os.kill(os.getpid(), 9)"))
    lines = [f'if {whose}.id == "artifact-000{n}": {line}' for n, line in kinds]
    (fresh.experiment / "functions.py").write_text(misbehaving(function, "\n    ".join(lines)))
    limits = ("prepare.MAX_QUARANTINED=5", "reconcile.MAX_FAILED=5")
    done = fresh.handful("run", "--until", "prepare", "--set", limits[0], "--set", limits[1])
    assert done.returncode == 0, done.stderr
    if function == "encode_data":
        lost = pl.read_parquet(
            fresh.store / "data/prepared_data/full_dataset/model/quarantine.parquet"
        )
        found = dict(zip(lost["artifact_id"], lost["error"], strict=True))
    else:
        lost = pl.read_parquet(fresh.store / "data/reconciliation/ledger.parquet")
        lost = lost.filter(pl.col("fate") == "process_failed")
        found = dict(zip(lost["artifact_id"], lost["reason"], strict=True))
    words = ("SystemExit: 0", "Panic: index", "KeyboardInterrupt", "status 0", "SIGKILL")
    assert set(found) == {f"artifact-000{n}" for n in range(5)}
    for number, word in enumerate(words):
        assert word in found[f"artifact-000{number}"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("function", ["at import", "get_dataset_features", "encode_data"])
def test_a_real_interrupt_ends_with_130(
    copy: Tiny, function: str, number: signal.Signals, tmp_path: Path
) -> None:
    """While the user's code runs in the process that is interrupted, and its whole group."""
    there = tmp_path / "there"
    line = f"import time; open({str(there)!r}, 'w').close(); time.sleep(120)"
    (copy.experiment / "functions.py").write_text(misbehaving(function, line))
    with subprocess.Popen(
        [HANDFUL, "check", str(copy.experiment)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not there.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.startswith("error: interrupted")


def limited(**limits: int) -> Callable[[], None]:
    """What a child does first: hold itself to `RLIMIT_…`."""

    def hold() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return hold


LEAK = """
KEPT = []
_encode = encode_data
def encode_data(instance, label2id, model_name):
    KEPT.append(open("/dev/null"))
    return _encode(instance, label2id, model_name)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "more", "words"),
    [
        ({"NOFILE": 32}, LEAK, "no more files may be opened (`ulimit -n`)"),
        ({"FSIZE": 2_000}, "", "a file may not become that large (`ulimit -f`"),
    ],
    ids=["open files", "file size"],
)
def test_a_limit_of_the_machine_stops_in_words_and_costs_no_document(
    copy: Tiny, limits: dict[str, int], more: str, words: str
) -> None:
    (copy.experiment / "functions.py").write_text(WHOLE + more)
    done = subprocess.run(
        [HANDFUL, "prepare", str(copy.experiment)],
        preexec_fn=limited(**limits),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    (copy.experiment / "functions.py").write_text(WHOLE)
    done = copy.handful("prepare")
    assert done.returncode == 0, done.stderr
    assert "quarantined 0" in done.stdout
