"""label_review.csv: the labels that are probably wrong, the worst first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handful.errors import Absent, Damaged, DataError
from handful.evaluation.baseline.arrays import Floats, Ids
from handful.evaluation.baseline.review import Review, from_csv, to_csv, with_decisions
from handful.evaluation.baseline.suspects import Judged, suspects
from handful.layout import Layout, artifact
from handful.progress import Progress
from handful.storage.base import Store

BASELINE, MODEL = "baseline", "model"


@dataclass(frozen=True)
class Source:
    """What one judge said of one set of examples."""

    source: str
    ids: Sequence[str]
    splits: Sequence[str]
    references: Ids
    judged: Judged


def by_model(ids: Sequence[str], split: str, references: Ids, logits: Floats) -> Source:
    """A trained model, on examples that it never trained on.

    `references` [N] and `logits` [N, C] of `ids`.
    """
    try:
        judged = suspects(references, logits)
    except (ValueError, ArithmeticError) as error:
        judged = Judged((), 0, f"they could not be judged: {error}")
    return Source(MODEL, ids, [split] * len(ids), references, judged)


def review(
    store: Store,
    layout: Layout,
    progress: Progress,
    sources: Sequence[Source],
    labels: Sequence[str],
) -> None:
    """Write label_review.csv and what is to be said of it.

    Decisions made before are kept, and so are the rows and notes of splits that `sources` are
    silent about.
    """
    key = layout.label_review
    spoken_of = {split for source in sources for split in source.splits}
    rows = _merge_review_rows(store.url, sources, labels)
    try:
        before = from_csv(store.read(key))
    except Absent:
        before = []
    except DataError as error:
        progress.warn(f"{key} is left as it is, for it may hold decisions: {error}")
        return
    rows = sorted([*rows, *(row for row in before if row.split not in spoken_of)], key=_worst_first)
    rows = with_decisions(rows, before)
    store.write(key, to_csv(rows))
    others = [
        note
        for note in _notes(store, layout.label_review_notes)
        if spoken_of.isdisjoint(note["splits"])
    ]
    told = [*map(_summarize_review_source, sources), *others]
    store.write(layout.label_review_notes, json.dumps(told, indent=2).encode() + b"\n")
    things = "label" if len(rows) == 1 else "labels"
    progress.note(f"{len(rows):,} {things} to look at again: {key}")


def _notes(store: Store, key: str) -> list[dict[str, Any]]:
    try:
        return [dict(note) for note in json.loads(store.read(key))]
    except (Absent, Damaged, ValueError, TypeError):
        return []


def _worst_first(row: Review) -> tuple[float, str]:
    try:
        return float(row.score), row.artifact_id
    except ValueError:  # a spreadsheet has changed the file
        return 1.0, row.artifact_id


def _merge_review_rows(url: str, sources: Sequence[Source], labels: Sequence[str]) -> list[Review]:
    """One row an artifact."""
    found: dict[str, Review] = {}
    for source in sources:
        for one in source.judged.suspects:
            name = source.ids[one.row]
            new = Review(
                artifact_id=name,
                label=labels[source.references[one.row]],
                suggested_label=labels[one.suggested],
                score=f"{one.score:.6f}",
                source=source.source,
                split=source.splits[one.row],
                path=f"{url}/{artifact(name)}",
            )
            before = found.get(name)
            if before is None:
                found[name] = new
                continue
            worse = min(before, new, key=lambda row: float(row.score))
            found[name] = replace(worse, source=f"{before.source} and {new.source}")
    return list(found.values())


def _summarize_review_source(source: Source) -> Mapping[str, Any]:
    return {
        "source": source.source,
        "splits": list(dict.fromkeys(source.splits)),
        "artifacts": len(source.ids),
        "judged": source.judged.judged,
        "suspects": len(source.judged.suspects),
        "reason": source.judged.reason,
    }
