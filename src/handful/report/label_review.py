"""The labels to look at again, as label_review.csv has them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from handful.baseline.review import Review, from_csv
from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.report import gather

SHOWN = 50


@dataclass(frozen=True)
class Part:
    """What the page shows of the label review."""

    rows: tuple[tuple[Review, str | None], ...]
    """The worst rows, each with the beginning of its document if documents may be shown."""
    count: int
    """All rows of the file."""
    told: tuple[str, ...]
    """Who judged, and what could not be judged."""
    key: str


def part(experiment: Experiment) -> Part | None:
    """None if there is no review, or none that can be read."""
    key = experiment.layout.label_review
    try:
        rows = from_csv(experiment.store.read(key))
        notes = json.loads(experiment.store.read(experiment.layout.label_review_notes))
    except Absent:
        return None
    except (DataError, ValueError) as error:
        return Part((), 0, (f"The file cannot be read: {error}",), key)
    undecided = [row for row in rows if not row.decision.strip()]
    shown = [(row, gather.beginning(experiment, row.artifact_id)) for row in undecided[:SHOWN]]
    return Part(tuple(shown), len(rows), tuple(_told(note) for note in notes), key)


def _told(note: dict[str, object]) -> str:
    who = {
        "baseline": "The TF-IDF or linear baseline, by five folds,",
        "model": "The trained model",
    }.get(str(note["source"]), str(note["source"]))
    splits = note["splits"]
    where = " and ".join(map(str, splits)) if isinstance(splits, list) else str(splits)
    reason = f" — {note['reason']}" if note.get("reason") else ""
    return (
        f"{who} judged {note['judged']:,} of {note['artifacts']:,} labels of {where} and doubts "
        f"{note['suspects']:,}{reason}."
    )
