"""A store that an earlier commit made is up to date, and what it left half done goes on.

tests/fixtures/first_stores.tar.xz was made by tests/fixtures/make_first_stores.py with the code of
commit 5ebf7ed. The versions of datasets, pyarrow, tokenizers and transformers enter fingerprints,
as in any store: when one of their pins in constraints.txt changes, `prepare` is rightly to be done
again, and the first test below says so. Then make the archive anew: install the new versions, run
that script (it takes the old code out of git), and commit what it wrote. Never make it anew, or
with another commit, because a change of ours made these tests fail: users' stores are not made
anew either.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from handful.experiment.fingerprint import ENCODING_LIBRARIES
from handful.settings.counted import HASHED_AT_DEFAULT
from tests.support.first_stores import HALF, WHOLE, contents, handful, unpack

STEPS = ("reconcile", "prepare", "tune", "train", "test", "compare", "report")
RESULTS = "results/full_dataset"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing in it."""
    return unpack(tmp_path_factory.mktemp("first"))


def states(root: Path, name: str) -> dict[str, Any]:
    told = json.loads(handful(root, "status", name, "--json"))
    return {step: state for step, _, state in told["rows"]}


def read(root: Path, name: str, key: str) -> Any:
    return json.loads((root / "store" / name / key).read_text())


def test_the_archive_was_made_with_the_versions_that_are_installed(first: Path) -> None:
    made_from = read(first, WHOLE, "data/prepared_data/full_dataset/prepared.json")["made_from"]
    then = {name: made_from[f"{name}'s version"] for name in ENCODING_LIBRARIES}
    remedy = "a pin has changed: see the docstring of this module for how to make the archive anew"
    assert then == {name: version(name) for name in ENCODING_LIBRARIES}, remedy


def test_status_finds_every_step_up_to_date(first: Path) -> None:
    assert states(first, WHOLE) == dict.fromkeys(STEPS, "up to date")


def test_status_of_what_is_half_done(first: Path) -> None:
    found = states(first, HALF)
    assert [found[step] for step in STEPS[:3]] == ["up to date"] * 3
    assert found["train"] == "to do: not done yet"


def test_run_finds_nothing_to_do_and_changes_no_byte(first: Path) -> None:
    store = first / "store" / WHOLE
    before = contents(store)
    told = handful(first, "run", WHOLE)
    for step in STEPS:
        assert f"{step}: up to date" in told
    assert f"the report: {store}/{RESULTS}/report.html" in told
    assert contents(store) == before


def test_it_holds_the_keys_that_are_hashed_at_their_default_and_no_other(first: Path) -> None:
    store = first / "store" / WHOLE
    records = [json.loads(path.read_text()) for path in store.rglob("*ed.json")]
    entries = {
        entry for record in records for entry in record.get("made_from", ()) if entry[0] == "["
    }
    by_hand = {"[user] POOLING", "[train:bag] LEARNING_RATE"}
    ranges = {"[tune] LEARNING_RATE", "[tune] user.POOLING"}
    assert entries - by_hand - ranges == {
        f"[{section}] {key}" for section, keys in HASHED_AT_DEFAULT.items() for key in keys
    }


@pytest.mark.slow
def test_a_run_that_is_trained_stays_and_a_new_seed_is_trained_beside_it(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    told = handful(
        root, "train", WHOLE, "--set", "train.SEEDS=0,1,2", "--set", "train.MODEL_NAMES=bag"
    )
    assert "train: bag seed 0: up to date" in told
    assert "train: bag seed 1: up to date" in told
    assert "train: bag seed 2: not trained yet" in told


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_ends_as_the_straight_one(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    results = root / "store" / HALF / RESULTS
    done = contents(results / "models/bag/seed-7")
    told = handful(root, "run", HALF)
    assert "train: bag seed 7: up to date" in told
    assert "model seed 7: goes on from the checkpoint of step 14 of 30" in told
    now = contents(results / "models/bag/seed-7")
    # The record is told the temperature by test; nothing else of it changes.
    assert now.pop("final/handful.json") != done.pop("final/handful.json")
    assert now == done
    run = results / "models/model/seed-7"
    ended = json.loads((run / "final/handful.json").read_text())
    straight = json.loads((root / "straight/handful.json").read_text())
    assert ended["steps"] == straight["steps"] == 30
    # To the bit where it was made; another processor adds in another order.
    assert ended["metrics"] == pytest.approx(straight["metrics"], rel=1e-4)
    assert ended["best_epoch"] == straight["best_epoch"]
    assert told_lines(run / "metrics.jsonl") == [
        pytest.approx(line, rel=1e-4) for line in told_lines(root / "straight/metrics.jsonl")
    ]
    assert not (run / "checkpoints").exists()
    assert states(root, HALF) == dict.fromkeys(STEPS, "up to date")


def told_lines(path: Path) -> list[dict[str, float]]:
    """The numbers of metrics.jsonl; how long something took is left out."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {
            name: value
            for name, value in line.items()
            if isinstance(value, int | float) and "second" not in name and "per" not in name
        }
        for line in lines
    ]


@pytest.mark.slow
def test_predict_works_on_it(first: Path) -> None:
    artifacts = first / "store" / WHOLE / "data/reconciled_artifacts"
    for model in ("bag", "model"):
        told = handful(
            first, "predict", WHOLE, str(artifacts / "artifact-0000"), "--model", model, "--json"
        )
        found = [json.loads(line) for line in told.splitlines() if '"artifact_id"' in line]
        assert [one["artifact_id"] for one in found] == ["artifact-0000"]
        assert found[0]["label"] in ("invoice", "letter", "report")


def test_what_was_tested_is_compared_and_reported_to_the_same_end(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    before = read(root, WHOLE, f"{RESULTS}/compared.json")
    (root / "store" / WHOLE / RESULTS / "report.html").unlink()
    handful(root, "compare", WHOLE, "--redo")
    after = read(root, WHOLE, f"{RESULTS}/compared.json")
    for name in ("winner", "ranking", "verdict", "made_from"):
        assert after[name] == before[name]
    told = handful(root, "report", WHOLE)
    assert "report.html is gone from the store" in told or "changed" in told
    assert "bag" in (root / "store" / WHOLE / RESULTS / "report.html").read_text()
    assert "On 14 artifacts in common" in handful(root, "compare", WHOLE, WHOLE)


@pytest.mark.slow
def test_its_snapshot_of_production_is_used_and_production_not_asked(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    was_made_here(root, WHOLE)
    (root / "labels.sqlite").unlink()
    (root / WHOLE / "corrections.csv").write_text("artifact_id,label\nartifact-0013,report\n")
    told = handful(root, "reconcile", WHOLE)
    assert "production as of" in told
    assert "copying" not in told
    labels = read(root, WHOLE, "data/unique_labels_and_counts.json")
    assert labels["report"] == 23


def was_made_here(root: Path, name: str) -> None:
    """A snapshot holds whole paths: they become what they had been, had the store been made here.

    A store that moved apart from its production asks for `--refresh` before it reconciles again.
    """
    path = root / "store" / name / "data/reconciliation/snapshot.json"
    about = json.loads(path.read_text())
    about["made_from"]["[production] DATABASE_URL"] = f"sqlite:///{root}/labels.sqlite"
    about["made_from"]["[production] FILES_URL"] = f"{root}/files"
    path.write_text(json.dumps(about))
