"""label_review.csv: safe in a spreadsheet, and read back as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from handful.errors import DataError
from handful.evaluation.baseline.review import COLUMNS, Review, from_csv, to_csv, with_decisions
from handful.steps.reconcile.snapshot.overrides import read

HOSTILE = [
    '=HYPERLINK("http://evil.example","look")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "'=1",
    "\t=1",
    "a,b\nc",
    "'plain",
    "日本",
]


def row(name: str, decision: str = "") -> Review:
    return Review(name, "=label", "letter", "0.010000", "baseline", "train", f"/x/{name}", decision)


def test_hostile_cells_are_no_formulas_and_come_back_as_they_were() -> None:
    rows = [row(name) for name in HOSTILE]
    data = to_csv(rows)
    cells = [cell for line in csv.reader(io.StringIO(data.decode("utf-8-sig"))) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert from_csv(data) == rows


def test_the_overrides_are_the_decisions(tmp_path: Path) -> None:
    path = tmp_path / "label_review.csv"
    given = [row(HOSTILE[0], "report"), row("undecided"), row("b", " letter "), row("c", "=label")]
    path.write_bytes(to_csv(given))
    assert dict(read(path).iter_rows()) == {HOSTILE[0]: "report", "b": "letter", "c": "=label"}


def test_no_decision_yet_overrides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "label_review.csv"
    path.write_bytes(to_csv([row("a")]))
    assert read(path).is_empty()


def test_a_spreadsheet_may_write_semicolons_and_move_columns(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("note;decision;artifact_id\nlooked;report;a\n;;b\n", encoding="utf-8-sig")
    assert dict(read(path).iter_rows()) == {"a": "report"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_decisions_that_a_spreadsheet_saved_outlive_a_new_table(
    separator: str, encoding: str
) -> None:
    rows = [row(name) for name in HOSTILE] + [row("a", "report")]
    lines = csv.reader(io.StringIO(to_csv(rows).decode("utf-8-sig"), newline=""))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows([*line, ""] for line in lines)
    assert from_csv(text.getvalue().encode(encoding)) == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("artifact_id,decision\na\n", "1 fields, and the first line 2"),
        ("artifact_id,decision\na,x\na,y\n", "another label in an earlier line"),
        ("artifact_id,decision\n,x\n", "empty"),
    ],
)
def test_a_broken_review_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "review.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert "review.csv:" in str(caught.value)


def test_decisions_outlive_a_new_table() -> None:
    """The settings may name the very file that the next run writes."""
    before = [row("a", "report"), row("b"), row("gone", "letter")]
    after = with_decisions([row("new"), row("a")], before)
    assert after == [row("new"), row("a", "report"), row("gone", "letter")]


@pytest.mark.parametrize("data", [b"\xff", b"", b"a,b\n1,2\n", b'artifact_id,decision\n"a\n'])
def test_what_is_no_review_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        from_csv(data)


def test_the_columns() -> None:
    header = "artifact_id label suggested_label score source split path decision"
    assert header.split() == list(COLUMNS)
