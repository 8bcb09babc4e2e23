"""Every CSV that handful writes is safe in a spreadsheet, and is read back as it was meant."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from handful.evaluation.baseline.review import Review, from_csv, to_csv
from handful.files.csv_text import cell_as_meant, csv_bytes, safe_cell
from handful.steps.reconcile.snapshot import overrides
from handful.training.evaluation.results import write_confusion

SOURCE = Path(__file__).parents[3] / "src" / "handful"
BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
CELLS = [
    *(f"{one}cmd|' /C calc'!A0" for one in BEGINNINGS),
    *(f"{mark}{one}1+1" for mark in ("'", "''") for one in BEGINNINGS),
    *(f"harmless{mark}=1+1" for mark in (";", ",", "\t", ";'", "\n", "\r", "|")),
    "plain",
    "it's",
    "'quoted'",
    "a - b",
    "x=1",
    "",
    "'",
    "a, b; c",
]
FORMULA = re.compile(r"(?:^|[;,\t\r\n|])\"?[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def cells_of(data: bytes) -> list[list[str]]:
    text = data.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_safe_and_read_back_as_it_was(cell: str) -> None:
    assert not FORMULA.search(safe_cell(cell))
    assert cell_as_meant(safe_cell(cell)) == cell


def confusion(folder: Path) -> bytes:
    labels = np.arange(len(CELLS))
    path = folder / "confusion_matrix.csv"
    write_confusion(path, np.eye(len(CELLS)), labels, CELLS)
    return path.read_bytes()


def review(_: Path) -> bytes:
    return to_csv([Review(c, c, c, "0.1", "model", "train", c, c) for c in CELLS])


@pytest.mark.parametrize("written", [confusion, review])
def test_no_csv_of_handfuls_holds_a_formula(tmp_path: Path, written: object) -> None:
    cells = cells_of(written(tmp_path))  # type: ignore[operator]
    assert not [cell for row in cells for cell in row if FORMULA.search(cell)]
    first = [cell_as_meant(row[0]) for row in cells[1:]]
    assert first == CELLS


def test_numbers_stay_numbers() -> None:
    assert csv_bytes([[-1, 2.5, "-1"]]) == b"-1,2.5,'-1\r\n"


def test_a_review_is_read_back() -> None:
    rows = [Review(c, c, c, "0.1", "model", "train", c, c) for c in CELLS]
    assert from_csv(to_csv(rows)) == rows


def overridden(folder: Path, text: bytes, *labels: str) -> dict[str, str]:
    """Artifact id → label, after LABEL_OVERRIDES has read `text`."""

    class _Settings:
        class reconcile:
            LABEL_OVERRIDES = folder / "overrides.csv"

        class production:
            ID_FORMAT = "exact"

    (folder / "overrides.csv").write_bytes(text)
    ids = ["=id", "+id", "plain", *(f"other-{n}" for n in range(len(labels)))]
    given = ["old", "old", "old", *labels]
    rows = pl.DataFrame({"artifact_id": ids, "label": given})
    found = overrides.override(rows, _Settings)  # type: ignore[arg-type]
    return dict(found.select("artifact_id", "label").iter_rows())


def test_overrides_made_of_a_review_give_the_true_labels(tmp_path: Path) -> None:
    made = to_csv([Review("=id", "old", "", "0.1", "m", "train", "", "-new")])
    assert overridden(tmp_path, made)["=id"] == "-new"
    # Copied by hand into a file of two columns.
    copied = b"artifact_id,label\r\n'=id,'-new\r\nplain,it's\r\n"
    found = overridden(tmp_path, copied)
    assert (found["=id"], found["plain"]) == ("-new", "it's")
    # A label that is spelt so in the database is meant so.
    assert overridden(tmp_path, copied, "'-new")["=id"] == "'-new"


def test_there_is_one_writer_of_csv() -> None:
    """Nobody else calls csv.writer, or a table's own way to a CSV."""
    writes = re.compile(r"\b(?:csv\.(?:Dict)?[wW]riter|DictWriter|write_csv|sink_csv)\b")
    found = [path.name for path in SOURCE.rglob("*.py") if writes.search(path.read_text())]
    assert found == ["csv_text.py"]
