"""The labels to look at again, as label_review.csv has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from handful.errors import Absent, DataError
from handful.evaluation.baseline.review import Review, from_csv
from handful.layout import Layout
from handful.report.documents import Document
from handful.report.tables import Heads, num, prose, table
from handful.report.words import code, quote
from handful.storage.base import Store

SHOWN = 50


@dataclass(frozen=True)
class Part:
    """What the page shows of the label review."""

    rows: tuple[Review, ...]
    """The worst rows."""
    count: int
    """All rows of the file."""
    told: tuple[str, ...]
    """Who judged, and what could not be judged."""
    key: str


def part(store: Store, mine: Layout) -> Part | None:
    """None if there is no review, or none that can be read."""
    key = mine.label_review
    try:
        rows = from_csv(store.read(key))
        notes = json.loads(store.read(mine.label_review_notes))
    except Absent:
        return None
    except (DataError, ValueError) as error:
        return Part((), 0, (f"The file cannot be read: {error}",), key)
    undecided = [row for row in rows if not row.decision.strip()]
    return Part(
        tuple(undecided[:SHOWN]),
        len(rows),
        tuple(_describe_review_note(note) for note in notes),
        key,
    )


def shown(part: Part, documents: Mapping[str, Document]) -> dict[str, Any]:
    """What the template needs; `documents` by artifact."""
    heads: Heads = [
        "artifact",
        "label",
        prose("probably"),
        num("probability of the label"),
        "split",
        "judged by",
    ]
    rows = [
        (
            code(row.artifact_id),
            row.label,
            Markup("{}<div>{}</div>").format(
                row.suggested_label, quote(documents.get(row.artifact_id))
            ),
            row.score,
            row.split,
            row.source,
        )
        for row in part.rows
    ]
    return {
        "key": part.key,
        "told": part.told,
        "count": f"{part.count:,}",
        "shown": len(rows),
        "table": table("Labels that are probably wrong, the worst first", heads, rows),
    }


def _describe_review_note(note: dict[str, object]) -> str:
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
