"""prepare on several machines, on another experiment's split, and within a worker's memory."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from handful import layout
from handful.errors import UserError
from handful.steps.prepare import Share, encode_share
from handful.steps.prepare.encoding import shards
from tests.support.preparing import FUNCTIONS, Bench, bench, random_text

HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
COUNT = 40


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", 4)


def encode(made: Bench, worker: int, of: int) -> int:
    with made.open() as experiment:
        return encode_share(experiment, made.write(experiment), Share(worker, of))


def test_three_machines_make_the_same_bytes_as_one(tmp_path: Path) -> None:
    alone, shared = bench(tmp_path / "alone", COUNT), bench(tmp_path / "shared", COUNT)
    alone.prepare()
    counts = [encode(shared, worker, 3) for worker in (2, 0, 1)]
    print(f"shards encoded by the three: {counts}")
    assert sorted(counts) == [3, 3, 4]
    assert not (shared.prepared / "splits.parquet").exists()
    shared.told.advances.clear()
    shared.prepare()
    encoded_now = [task for task, *_ in shared.told.advances if task.startswith("encoding")]
    assert encoded_now == [], "the last call joins, and encodes nothing"
    assert shared.bytes() == alone.bytes()


@pytest.mark.slow
def test_a_machine_that_is_lost_costs_its_share_only(tmp_path: Path) -> None:
    alone, shared = bench(tmp_path / "alone", COUNT), bench(tmp_path / "shared", COUNT)
    alone.prepare()
    encode(shared, 0, 3)
    encode(shared, 1, 3)
    assert encode(shared, 1, 3) == 0, "started again, it finds its shards done"
    shared.prepare()
    assert "tiny: 7 of 10 shards were encoded before" in shared.told.notes
    assert shared.bytes() == alone.bytes()


@pytest.mark.slow
def test_machines_share_the_work_from_the_command_line(tmp_path: Path) -> None:
    made = []
    for name in ("alone", "shared"):
        one = Bench(tmp_path / name)
        one.settings()
        one.functions(FUNCTIONS)
        for number in range(60):
            one.add(
                f"artifact-{number:04d}",
                ("invoice", "letter")[number % 2],
                random_text(number, 1000),
            )
        with one.open() as experiment:
            experiment.store.write(layout.RECONCILED, one.write(experiment).to_json())
        made.append(one)
    alone, shared = made
    machines = [command(shared, "--worker", str(number), "--of", "3") for number in range(3)]
    assert [machine.wait() for machine in machines] == [0, 0, 0]
    markers = list(shared.prepared.glob("tiny/shards/*/0*.json"))
    assert len(markers) > 3
    assert not (shared.prepared / "tiny/train").exists()
    assert command(shared).wait() == command(alone).wait() == 0
    ours, theirs = shared.bytes(), alone.bytes()
    assert ours.pop("prepared.json") != theirs.pop("prepared.json")  # it tells the time
    assert ours == theirs
    refused = command(shared, "--worker", "3", "--of", "3", stderr=subprocess.PIPE)
    assert refused.communicate()[1].count(b"--worker") >= 1
    assert refused.returncode == 2


def command(made: Bench, *more: str, stderr: int | None = None) -> subprocess.Popen[bytes]:
    words = [HANDFUL, "prepare", str(made.directory), *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stderr)


def splits(made: Bench, name: str) -> dict[str, str]:
    path = made.root / "store" / name / "data/prepared_data/full_dataset/splits.parquet"
    return {row["artifact_id"]: row["split"] for row in pq.read_table(path).to_pylist()}


@pytest.mark.slow
def test_the_split_of_another_experiment_is_taken(tmp_path: Path) -> None:
    made = bench(tmp_path, COUNT)
    made.prepare()
    theirs = splits(made, "exp")
    for artifact_id in list(made.artifacts)[:5]:
        del made.artifacts[artifact_id]
    for number in range(10):
        made.add(f"new-{number}", "letter")
    other = {"experiment_NAME": "other", "experiment_SEED": "7"}
    made.prepare(**other, prepare_SPLIT_FROM="exp")
    mine = splits(made, "other")
    both = mine.keys() & theirs.keys()
    assert len(both) == COUNT - 5
    assert {i: mine[i] for i in both} == {i: theirs[i] for i in both}
    assert {mine[f"new-{n}"] for n in range(10)} == {"train", "validation", "test"}
    assert "splits: 40 artifacts are placed as in exp (SPLIT_FROM)" in made.told.notes
    made.prepare(**{**other, "experiment_NAME": "third"})
    assert splits(made, "third") != mine, "without it, another seed draws another split"


@pytest.mark.slow
def test_an_own_split_is_not_exchanged_in_silence(tmp_path: Path) -> None:
    made = bench(tmp_path, COUNT)
    made.prepare()
    made.prepare(experiment_NAME="other", experiment_SEED="7")
    with pytest.raises(UserError, match=r"SPLIT_FROM = none.*\n.*--redo prepare"):
        made.prepare(experiment_NAME="other", experiment_SEED="7", prepare_SPLIT_FROM="exp")
    made.prepare(redo=True, experiment_NAME="other", experiment_SEED="7", prepare_SPLIT_FROM="exp")
    assert splits(made, "other") == splits(made, "exp")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exp", "the experiment itself"),
        ("nobody", "there is nothing of it"),
        ("../elsewhere", "no experiment's name"),
    ],
)
def test_a_split_that_cannot_be_taken_is_told(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        bench(tmp_path, 12).prepare(prepare_SPLIT_FROM=name)


GREEDY = FUNCTIONS.replace(
    "    ids = numbers",
    """    if instance.id == "artifact-0003":
        import time

        hoard = [b"x" * 50_000_000 for _ in range(40)]
        time.sleep(60)
    ids = numbers""",
)


@pytest.mark.slow
def test_a_document_that_outgrows_a_workers_memory_is_quarantined(tmp_path: Path) -> None:
    made = bench(tmp_path, 12, GREEDY)
    made.prepare(prepare_WORKER_MEMORY="1GB")
    [lost] = made.quarantine()
    assert lost["artifact_id"] == "artifact-0003"
    assert lost["error"] == "its worker used more memory than 1,000 MB (WORKER_MEMORY)"
    assert len(made.all_rows()) == 11
