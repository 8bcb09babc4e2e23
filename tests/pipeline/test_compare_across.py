"""compare across experiments: which artifacts count, which labels fit; nothing is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handful.errors import DataError, UserError
from handful.steps.compare import compare
from handful.steps.compare.across import Side, across
from tests.support.compared import MADE_FROM, Compared, answered, split_ledger
from tests.support.tiny import HANDFUL, Tiny, make


def side(one: Compared, scratch: Path) -> Side:
    experiment = one.open(scratch)
    compared = compare(experiment, one.prepared, one.trained, one.tested, made_from=MADE_FROM)
    return Side(experiment, one.prepared, one.tested, compared)


def ids(*numbers: int) -> list[str]:
    return [f"a-{number:03d}" for number in range(*numbers)]


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, 400)


def two(tmp_path: Path, truth: np.ndarray, labels: tuple[str, ...]) -> tuple[Side, Side]:
    """A tested 0..299 and B 100..399; B trained on 100..149, whatever its predictions say."""
    chance = np.random.default_rng(2)
    first = Compared(tmp_path / "EXP-A")
    first.model("m", truth[:300], answered(truth[:300], 0.9, 3, chance), ids=ids(300))
    split_ledger(first, ids(300, 310), ids(300))
    second = Compared(tmp_path / "EXP-B", labels)
    own = np.array([labels.index(name) for name in first.labels])
    said = answered(truth[100:], 0.6, 3, chance)
    second.model("m", own[truth[100:]], own[said], ids=ids(100, 400))
    split_ledger(second, ids(100, 150), ids(150, 400))
    return side(first, tmp_path / "s"), side(second, tmp_path / "t")


@pytest.mark.parametrize(
    "labels", [("invoice", "letter", "report"), ("report", "invoice", "letter")]
)
def test_only_what_both_tested_and_neither_learnt_from(
    tmp_path: Path, truth: np.ndarray, labels: tuple[str, ...]
) -> None:
    """Label ids may differ: labels are matched by name."""
    found = across(two(tmp_path, truth, labels))
    assert found["artifacts"] == 150  # 150..299
    assert found["left_out"] == {"trained_on_by_another": 50, "labels_differ": 0}
    assert [row["model"] for row in found["ranking"]] == ["EXP-A/m", "EXP-B/m"]
    (pair,) = found["pairs"]
    assert pair["better"] == "EXP-A/m"
    assert found["sentences"][0].startswith("EXP-A/m is better than EXP-B/m: of 150 artifacts")
    assert "Compared on 150 artifacts" in found["remarks"][0]
    accuracy = [row["metrics"]["accuracy"]["value"] for row in found["ranking"]]
    assert accuracy == pytest.approx([0.9, 0.6], abs=0.1)
    json.dumps(found, allow_nan=False)


def test_different_labels_are_named(tmp_path: Path, truth: np.ndarray) -> None:
    first = Compared(tmp_path / "EXP-A", ("invoice", "letter", "memo"))
    second = Compared(tmp_path / "EXP-B", ("invoice", "letter", "report", "will"))
    for one in (first, second):
        one.model("m", truth, truth)
    sides = [side(first, tmp_path / "s"), side(second, tmp_path / "t")]
    with pytest.raises(DataError, match="'memo' only in EXP-A; 'report', 'will' only in EXP-B"):
        across(sides)


def test_nothing_in_common_says_what_to_do(tmp_path: Path, truth: np.ndarray) -> None:
    sides = []
    for name, numbers in (("EXP-A", (0, 40)), ("EXP-B", (40, 80))):
        one = Compared(tmp_path / name)
        one.model("m", truth[:40], truth[:40], ids=ids(*numbers))
        split_ledger(one, [], ids(*numbers))
        sides.append(side(one, tmp_path / f"scratch-{name}"))
    with pytest.raises(DataError, match=r"\(EXP-A 40, EXP-B 40\)") as error:
        across(sides)
    assert "SPLIT_FROM" in str(error.value)


def test_an_artifact_whose_label_changed_is_left_out(tmp_path: Path, truth: np.ndarray) -> None:
    sides = []
    for name, shift in (("EXP-A", 0), ("EXP-B", 1)):
        one = Compared(tmp_path / name)
        label = truth[:40].copy()
        label[:5] = (label[:5] + shift) % 3
        one.model("m", label, label, ids=ids(40))
        split_ledger(one, [], ids(40))
        sides.append(side(one, tmp_path / f"scratch-{name}"))
    found = across(sides)
    assert found["artifacts"] == 35
    assert found["left_out"]["labels_differ"] == 5
    assert found["sentences"][0].startswith("No real difference")


def test_a_choice_that_was_not_tested_again(tmp_path: Path, truth: np.ndarray) -> None:
    sides = two(tmp_path, truth, ("invoice", "letter", "report"))
    old = replace(sides[1], compared=replace(sides[1].compared, winner="older"))
    with pytest.raises(UserError, match="older was chosen, but not tested any more"):
        across([sides[0], old])


@pytest.mark.slow
def test_two_experiments_on_the_command_line(tmp_path: Path) -> None:
    import subprocess

    tiny = make(tmp_path / "tiny", artifacts=60)
    tiny.settings(EPOCHS="1")
    other = tiny.root / "EXP-0002-longer"
    shutil.copytree(tiny.experiment, other)
    settings = other / "settings.ini"
    text = settings.read_text().replace("EPOCHS = 1", "EPOCHS = 6")
    settings.write_text(text.replace("[prepare]", "[prepare]\nSPLIT_FROM = EXP-0001-tiny"))

    def handful(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HANDFUL, *words], capture_output=True, text=True, check=False, cwd=tiny.root
        )

    early = handful("compare", str(tiny.experiment), str(other))
    assert early.returncode == 2
    assert "reconcile has not been done yet" in early.stderr
    for one in (tiny.experiment, other):
        done = handful("run", str(one), "--until", "compare")
        assert done.returncode == 0, done.stdout + done.stderr
    before = _files(tiny)
    done = handful("compare", str(tiny.experiment), str(other))
    assert done.returncode == 0, done.stderr
    assert "On 12 artifacts in common" in done.stdout
    assert "EXP-0002-longer/model" in done.stdout
    found = handful("compare", str(tiny.experiment), str(other), "--json")
    event = json.loads(found.stdout.splitlines()[-1])
    assert (event["event"], event["artifacts"]) == ("comparison", 12)
    again = handful("compare", str(tiny.experiment), str(other), "--redo")
    assert again.returncode == 2
    assert _files(tiny) == before, "a comparison across experiments writes nothing"


def _files(tiny: Tiny) -> dict[str, int]:
    root = tiny.root / "store"
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
