"""label_review.csv: labels that are probably wrong, for the labellers, and their answers.

The file is made to be opened in a spreadsheet: a cell that would be taken for a formula begins with
an apostrophe there, which is taken off again when the file is read. What the labellers write into
`decision` is the right label, and `[reconcile] LABEL_OVERRIDES` can name the file then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from handful.errors import DataError
from handful.evaluation.baseline.spreadsheet import read_sheet
from handful.files.csv_text import cell_as_meant, csv_bytes


@dataclass(frozen=True)
class Review:
    """One label to be looked at again."""

    artifact_id: str
    label: str
    suggested_label: str
    score: str
    """The probability of `label`, 0 to 1."""
    source: str
    """Whose probabilities: `baseline`, `model`, or both."""
    split: str
    path: str
    """The folder of the artifact's documents."""
    decision: str = ""
    """The labeller's: the right label; empty as long as nobody has looked."""


COLUMNS = tuple(field.name for field in fields(Review))


def is_review(header: Sequence[str]) -> bool:
    """Is this the first line of such a file? Columns may be added, moved and left out."""
    return {"artifact_id", "decision"} <= {name.strip().lower() for name in header}


def to_csv(rows: Iterable[Review]) -> bytes:
    """The file, in UTF-8 with the mark that spreadsheets know it by."""
    cells = ([getattr(row, name) for name in COLUMNS] for row in rows)
    return csv_bytes([COLUMNS, *cells], mark=True)


def from_csv(data: bytes) -> list[Review]:
    """The rows as they were before they were made safe; `DataError` if it is no such file.

    `data`: the whole file.
    """
    sheet = read_sheet(data, "label_review.csv", is_review, len(COLUMNS))
    lines = [fields for _, fields in sheet]
    if not lines or not is_review(lines[0]):
        raise DataError("has no columns artifact_id and decision", where="label_review.csv")
    names = [name.strip().lower() for name in lines[0]]
    found = []
    for line in lines[1:]:
        cells = dict(zip(names, map(cell_as_meant, line), strict=False))
        found.append(Review(**{name: cells.get(name, "") for name in COLUMNS}))
    return found


def with_decisions(rows: Sequence[Review], before: Iterable[Review]) -> list[Review]:
    """`rows`, with what the labellers have decided `before`; a decided row never gets lost."""
    decided = {row.artifact_id: row for row in before if row.decision.strip()}
    known = {row.artifact_id for row in rows}
    kept = [
        replace(row, decision=decided[row.artifact_id].decision)
        if row.artifact_id in decided
        else row
        for row in rows
    ]
    return kept + [row for name, row in decided.items() if name not in known]
