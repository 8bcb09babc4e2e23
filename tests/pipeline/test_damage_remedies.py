"""Whoever reads a damaged file says so, and what the error says makes the store whole again."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from handful import layout
from handful.errors import Damaged
from handful.experiment.context import Experiment, open_experiment
from handful.layout import Layout
from handful.pipeline.run import run
from handful.pipeline.step import Choice
from handful.pipeline.step_status import states
from handful.pipeline.steps import STEPS
from handful.progress import Silent
from tests.support.tiny import Tiny, make

pytestmark = pytest.mark.slow
MINE = Layout("full_dataset")
TRAIN = MINE.encoded_split("model", "train")
FINAL = MINE.final("model", 0)
ANOTHER_DRAW = ("prepare.SPLIT=0.5/0.25/0.25",)
"""A setting with which prepare has to look at what it drew before."""

READERS: dict[str, tuple[Choice, tuple[str, ...]]] = {
    key: (Choice(step, step, frozenset({step} - {other})), overrides)
    for step, other, overrides, keys in (
        ("reconcile", "", (), [layout.LABELS, layout.LISTING]),
        ("prepare", "", (), [layout.LEDGER, layout.artifact_file("artifact-0007", "text.txt")]),
        ("prepare", "prepare", ANOTHER_DRAW, [MINE.label2id, MINE.splits]),
        (
            "train",
            "",
            (),
            [
                MINE.label2id,
                f"{TRAIN}/data-00000-of-00001.arrow",
                f"{TRAIN}/dataset_info.json",
                f"{TRAIN}/state.json",
                f"{MINE.encoded_split('model', 'validation')}/data-00000-of-00001.arrow",
                f"{MINE.encoded('model')}/{layout.TRUNCATION}",
            ],
        ),
        (
            "test",
            "",
            (),
            [
                f"{MINE.encoded_split('model', 'test')}/data-00000-of-00001.arrow",
                f"{FINAL}/{layout.FINAL_RECORD}",
                f"{FINAL}/model.safetensors",
                f"{FINAL}/config.json",
            ],
        ),
        (
            "compare",
            "",
            (),
            [MINE.predictions("model", 0), MINE.metrics("model", 0), MINE.looks],
        ),
        (
            "report",
            "",
            (),
            [
                MINE.leakage,
                MINE.metrics_log("model", 0),
                MINE.comparison,
                MINE.label_review_notes,
                f"{MINE.encoded('model')}/{layout.QUARANTINE}",
            ],
        ),
    )
    for key in keys
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    made = make(tmp_path_factory.mktemp("tiny"))
    made.settings(EPOCHS="1")
    run(opened(made, made.root), Choice())
    return made


def opened(tiny: Tiny, scratch: Path, overrides: tuple[str, ...] = ()) -> Experiment:
    return open_experiment(tiny.experiment, overrides, Silent(), scratch)


def flip(path: Path) -> None:
    """One bit, behind its time stamp."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("key", READERS)
def test_whoever_reads_it_names_it(tiny: Tiny, tmp_path: Path, key: str) -> None:
    choice, overrides = READERS[key]
    path = tiny.store / key
    whole, status = path.read_bytes(), path.stat()
    flip(path)
    try:
        with pytest.raises(Damaged) as told:
            run(opened(tiny, tmp_path, overrides), choice)
    finally:
        path.write_bytes(whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.name in told.value.fault.where
    assert re.search(r"`handful run \S+ --re(fresh|do \w+)`", told.value.fault.remedy)


REMEDIES = {
    "run --refresh": [layout.LABELS, layout.LISTING, layout.SNAPSHOT],
    "reconcile": [
        layout.LEDGER,
        layout.SUMMARY,
        layout.COPIES,
        layout.CONTENTS,
        layout.PROCESSED,
        layout.CHECKSUMS,
        layout.LABEL_COUNTS,
        layout.artifact_file("artifact-0003", "text.txt"),
        layout.artifact_file("artifact-0005", "label.json"),
        layout.RECONCILED,
    ],
    "prepare": [
        MINE.label2id,
        MINE.id2label,
        MINE.splits,
        MINE.split_metadata,
        MINE.leakage,
        f"{TRAIN}/data-00000-of-00001.arrow",
        f"{MINE.encoded('model')}/{layout.QUARANTINE}",
        MINE.prepared_record,
    ],
    "train": [
        f"{FINAL}/model.safetensors",
        f"{FINAL}/{layout.FINAL_RECORD}",
        MINE.metrics_log("model", 0),
        MINE.trained_record,
    ],
    "test": [MINE.predictions("model", 0), MINE.metrics("model", 0), MINE.tested_record],
    "compare": [MINE.comparison, MINE.label_review_notes, MINE.compared_record],
    "report": [MINE.report, MINE.reported_record],
}


@pytest.mark.parametrize("step", REMEDIES)
def test_the_remedy_makes_the_store_whole_again(tiny: Tiny, tmp_path: Path, step: str) -> None:
    """All of a step's files are damaged at once, each for which the error names that remedy."""
    for key in REMEDIES[step]:
        flip(tiny.store / key)
    refresh = step == "run --refresh"
    words = "--refresh" if refresh else f"--redo {step}"
    for key in REMEDIES[step]:
        assert words in layout.remedy_for(key, "EXP")
    found = states(opened(tiny, tmp_path), STEPS, verify=True)
    told = [one for state in found for one in state.damage]
    assert told
    assert all(words in one.fault.remedy for one in told)
    redo = frozenset() if refresh else frozenset({step})
    run(opened(tiny, tmp_path), Choice(redo=redo, refresh=refresh))
    found = states(opened(tiny, tmp_path), STEPS, verify=True)
    assert [(state.step, state.damage, state.reasons) for state in found] == [
        (each.name, (), ()) for each in STEPS
    ]
    for number in (3, 5):
        folder = tiny.store / layout.artifact(f"artifact-{number:04d}")
        original = tiny.files / folder.name / "text.txt"
        assert (folder / "text.txt").read_bytes() == original.read_bytes()
        assert b"label" in (folder / "label.json").read_bytes()
