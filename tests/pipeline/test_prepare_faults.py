"""prepare under faults: documents, functions and processes that go wrong cost only themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handful.errors import DataError, StepError
from handful.steps.prepare.encoding import shards
from handful.user_functions.workers import pool as workers
from tests.support.preparing import FUNCTIONS, Bench, bench

HEAD = "def encode_data(instance):\n"
BATCHED = """
@handful.batched
def encode_data(instances):
    return [encode_one(instance) for instance in instances]
"""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", 8)
    monkeypatch.setattr(workers, "WARM_UP", 5.0)


def misbehaving(line: str, *, batched: bool = False) -> str:
    """functions.py whose encode_data runs `line` first; `n` is the number in the artifact's id."""
    head = f"{HEAD}    n = int(instance.id[-4:])\n    {line}\n"
    source = "import os, signal, sys, time\nimport handful\n" + FUNCTIONS.replace(HEAD, head)
    if batched:
        source = source.replace("def encode_data(instance)", "def encode_one(instance)") + BATCHED
    return source


def errors(made: Bench) -> dict[str, str]:
    return {one["artifact_id"]: one["error"] for one in made.quarantine()}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.slow
def test_a_bad_document_costs_itself_alone(tmp_path: Path, batched: bool) -> None:
    made = bench(tmp_path, 30, misbehaving("", batched=batched))
    ids = sorted(made.artifacts)
    made.artifacts[ids[3]]["files"] = {"raw_text.json": b"\xff\xfe\x00 not json"}
    made.artifacts[ids[20]]["files"] = {"raw_text.json": b""}
    record = made.prepare()
    assert record.quarantined == {"tiny": 2}
    assert sum(record.rows["tiny"].values()) == 28
    found = errors(made)
    assert found[ids[20]].startswith("JSONDecodeError: Expecting value")
    assert set(found) == {ids[3], ids[20]}
    one = made.quarantine()[0]
    assert "in numbers" in one["traceback"]
    assert "functions.py" in one["traceback"].splitlines()[1], "it begins with our own frames"
    assert (one["files"], one["file_sizes"]) == (["raw_text.json"], [12])
    assert made.splits()[ids[3]]["split"] != "left_out", "the ledger depends on no model"


LOST = {
    5: ("time.sleep(600)", "it took longer than 2 s (ENCODE_TIMEOUT)"),
    17: ("os.kill(os.getpid(), signal.SIGKILL)", "the worker was killed by SIGKILL"),
    18: ("os._exit(3)", "the worker ended with status 3"),
    30: ("sys.exit('enough')", "SystemExit: enough"),
}
"""The number in an artifact's id → what encode_data does there, and what is told of it."""


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.slow
def test_a_hanging_or_dying_function_costs_its_instance(tmp_path: Path, batched: bool) -> None:
    line = "\n    ".join(f"if n == {number}: {what}" for number, (what, _) in LOST.items())
    made = bench(tmp_path, 40, misbehaving(line, batched=batched))
    record = made.prepare(prepare_ENCODE_TIMEOUT="2s", prepare_NUM_PROCESSES=2)
    assert record.quarantined == {"tiny": len(LOST)}
    assert errors(made) == {f"artifact-{n:04d}": told for n, (_, told) in LOST.items()}
    assert sum(record.rows["tiny"].values()) == 40 - len(LOST)


def test_what_others_have_taken_tells_how_long_a_first_instance_may_take() -> None:
    known = workers._WarmUps()
    assert known.patience("tiny") == workers.WARM_UP
    for took, patience in ((0.1, 5.0), (0.0, 5.0), (1.0, 5.0)):
        known.note("tiny", took)
        assert known.patience("tiny") == patience
    assert known.patience("another model") == workers.WARM_UP


@pytest.mark.slow
def test_a_first_instance_that_hangs_does_not_cost_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WARM_UP", 60.0)
    made = bench(tmp_path, 16, misbehaving("if n == 0: time.sleep(600)"))
    began = time.monotonic()
    record = made.prepare(prepare_ENCODE_TIMEOUT="2s", prepare_NUM_PROCESSES=2)
    assert record.quarantined == {"tiny": 1}
    assert errors(made) == {"artifact-0000": "it took longer than 2 s (ENCODE_TIMEOUT)"}
    assert time.monotonic() - began < 45


@pytest.mark.slow
def test_functions_that_print_fork_and_change_the_world(tmp_path: Path) -> None:
    line = (
        "print('noise'); os.chdir('/'); os.environ.clear(); sys.stdout = None\n"
        "    if n % 10 == 0 and os.fork() == 0: return None"
    )
    made = bench(tmp_path, 24, misbehaving(line))
    plain = bench(tmp_path / "plain", 24)
    assert made.prepare().data_hash == plain.prepare().data_hash


def test_functions_cannot_change_the_label_map(tmp_path: Path) -> None:
    source = FUNCTIONS.replace(HEAD, "def encode_data(instance, label2id):\n    label2id.clear()\n")
    made = bench(tmp_path, 12, source)
    assert made.prepare().label2id == {"invoice": 0, "letter": 1, "report": 2}


@pytest.mark.slow
def test_a_document_that_gives_nothing_to_read_costs_itself_alone(tmp_path: Path) -> None:
    """Alone in a batch, as batches of like lengths have it, it would end the training."""
    line = 'if n == 5: return {"input_ids": [], "attention_mask": []}'
    made = bench(tmp_path, 30, misbehaving(line))
    assert made.prepare().quarantined == {"tiny": 1}
    (told,) = errors(made).values()
    assert "nothing to read: input_ids, attention_mask of length 0" in told


def test_too_many_stop_the_run_with_the_most_frequent_errors(tmp_path: Path) -> None:
    line = "assert n % 3, 'a third'\n    if n % 7 == 0: raise KeyError('a seventh')"
    made = bench(tmp_path, 30, misbehaving(line))
    with pytest.raises(DataError, match=r"more than MAX_QUARANTINED = 10% allows") as raised:
        made.prepare()
    told = str(raised.value)
    assert "× AssertionError: a third (such as artifact-0000)" in told
    assert not (made.prepared / "tiny/train").exists()
    assert made.prepare(prepare_MAX_QUARANTINED="50%").quarantined == {"tiny": 13}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("answers[:-1]", "returned 11 results for 12 instances"),
        ("answers[0]", "returned dict for 12"),
    ],
)
@pytest.mark.slow
def test_a_batch_of_another_length_is_an_error(tmp_path: Path, answer: str, told: str) -> None:
    source = misbehaving("", batched=True).replace(
        "    return [encode_one", "    answers = [encode_one"
    )
    made = bench(tmp_path, 30, f"{source}    return {answer}\n")
    made.fill(12, tuple(f"label {number}" for number in range(12)))
    with pytest.raises(DataError, match=told) as raised:
        made.prepare()
    assert "one dict or None per instance" in str(raised.value)


@pytest.mark.slow
def test_a_row_that_arrow_refuses_costs_itself_alone(tmp_path: Path) -> None:
    source = FUNCTIONS.replace(
        "    return {", "    ids = ['x'] if instance.id == 'artifact-0013' else ids\n    return {"
    )
    made = bench(tmp_path, 24, source)
    record = made.prepare()
    assert record.quarantined == {"tiny": 1}
    assert list(errors(made)) == ["artifact-0013"]


@pytest.mark.slow
def test_later_faults_are_told_apart(tmp_path: Path) -> None:
    """After the sample. Arrow alone would have made numbers of text, and nothing of None."""
    answers = {
        13: "{'input_ids': ids}",
        14: "{'input_ids': ids, 'attention_mask': ids[:0], 'labels': 1}",
        15: "{'input_ids': None, 'attention_mask': [1]}",
        16: "{'input_ids': [1, None], 'attention_mask': [1]}",
        17: "{'input_ids': ['3'], 'attention_mask': [1]}",
        18: "{'input_ids': [1.0], 'attention_mask': [1]}",
        19: "{'input_ids': [[1]], 'attention_mask': [1]}",
        20: "{'input_ids': [1], 'attention_mask': [300]}",
        21: "{'input_ids': [1], 'attention_mask': [1], 'labels': 7}",
    }
    lines = "".join(
        f"    if instance.id == 'artifact-00{number}': return {answer}\n"
        for number, answer in answers.items()
    )
    made = bench(tmp_path, 24, FUNCTIONS.replace("    return {", f"{lines}    return {{"))
    made.prepare(prepare_MAX_QUARANTINED="50%")
    found = {int(i[-2:]): told.removeprefix("ValueError: ") for i, told in errors(made).items()}
    other = "which is another label than the ledger's"
    ids, mask = "field input_ids: expected list of int32, found", "field attention_mask:"
    assert found == {
        13: "missing field attention_mask: it does not fit get_dataset_features",
        14: f"field labels: expected 2 ('report'), found 1, {other}",
        15: f"{ids} None, not a list",
        16: f"{ids} list of None at [1]",
        17: f"{ids} list of str '3' at [0]",
        18: f"{ids} list of float 1.0 at [0]",
        19: f"{ids} list of list of int (nested one level too deep) at [0]",
        20: f"{mask} expected list of int8, found list of the int 300, which int8 cannot hold, "
        "at [0]",
        21: "field labels: expected 0 ('invoice'), found 7, which is outside label2id (0 to 2)",
    }
    assert len(made.all_rows()) == 24 - len(answers)


def test_a_functions_py_that_never_loads_ends_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "START_SECONDS", 4)
    made = bench(tmp_path, 6, "import time\ntime.sleep(600)\n" + FUNCTIONS)
    began = time.monotonic()
    with pytest.raises(StepError, match=r"functions.py was not loaded within 4 s"):
        made.prepare(prepare_NEAR_DUPLICATES="ignore")
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_step_with_their_last_words(tmp_path: Path) -> None:
    source = f"import os\nos.write(2, b'no luck')\nos._exit(9)\n{FUNCTIONS}"
    made = bench(tmp_path, 12, source)
    with pytest.raises(StepError, match="ended with status 9, 3 times") as raised:
        made.prepare()
    assert "no luck" in str(raised.value)


RUN = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.support.preparing import Bench
from handful.steps.prepare.encoding import shards
from handful.user_functions.workers import pool as workers
shards.SIZE = 8
made = Bench(Path({root!r}))
made.fill(60)
made.prepare(prepare_NUM_PROCESSES=2)
"""


@pytest.mark.slow
def test_killed_and_run_again_it_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    line = f"time.sleep(0.03); open({str(calls)!r}, 'a').write(f'{{instance.id}}\\n')"
    undisturbed = bench(tmp_path / "undisturbed", 60, misbehaving(line))
    expected = undisturbed.prepare()
    made = bench(tmp_path / "killed", 60, misbehaving(line))
    calls.unlink()
    script = RUN.format(path=[str(Path(__file__).parents[2])], root=str(made.root))
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    markers: list[Path] = []
    end = time.monotonic() + 120
    while len(markers) < 3 and process.poll() is None and time.monotonic() < end:
        markers = list(made.prepared.glob("tiny/shards/*/0*.json"))
        time.sleep(0.01)
    workers = [int(pid) for pid in _children(process.pid)]
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert workers
    assert len(markers) >= 3
    assert not (made.prepared / "tiny/train").exists()
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, "a worker outlived its driver"
        time.sleep(0.01)
    kept = list(made.prepared.glob("tiny/shards/*/0*.json"))
    before = len(calls.read_text().splitlines())
    record = made.prepare()
    assert record.data_hash == expected.data_hash
    assert record.splits_hash == expected.splits_hash
    again = calls.read_text().splitlines()[before:]
    assert len(again) <= 60 - 8 * len(kept)
    ours, theirs = made.bytes(), undisturbed.bytes()
    assert ours == theirs


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
