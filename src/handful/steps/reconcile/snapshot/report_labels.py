"""What is told between matching and the first copy: labels, their counts, and what looks wrong."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import polars as pl

from handful import layout
from handful.errors import DataError
from handful.progress import Progress
from handful.records import Fate
from handful.settings import Settings
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.keys import pattern_hint
from handful.steps.reconcile.keys.id_hints import Hint, hints
from handful.steps.reconcile.keys.names import quote_names
from handful.steps.reconcile.matching import Matched
from handful.storage.base import Store

_MOST_LABELS = 30
EXAMPLES = 3
_LABEL_REPORT_PLACE = "settings.ini [production]"


def label_counts(rows: pl.DataFrame) -> dict[str, int]:
    """Kept artifacts per label, most frequent first."""
    kept = rows.filter(pl.col("fate") == Fate.KEPT.value)
    counts = kept.group_by("label").len().sort(["len", "label"], descending=[True, False])
    return dict(counts.iter_rows())


def announce(progress: Progress, settings: Settings, matched: Matched, listing: Listing) -> None:
    """Show the labels; `DataError` if no artifact is left, or only one label."""
    near = hints(matched.rows, backend_of(settings.production.DATABASE_URL))
    labels = label_counts(matched.rows)
    fates = Counter(dict(matched.rows.group_by("fate").len().iter_rows()))
    if len(labels) < 2:
        pattern = settings.production.KEY_PATTERN
        raise _nothing_to_learn(matched.rows, listing, labels, fates, pattern, near)
    shown = list(labels.items())[:_MOST_LABELS]
    rest = len(labels) - len(shown)
    if rest:
        shown.append((f"({rest:,} more labels)", sum(list(labels.values())[_MOST_LABELS:])))
    progress.table(f"labels of {sum(labels.values()):,} artifacts", ("label", "artifacts"), shown)
    warn_of_lookalikes(progress, matched.rows, settings.prepare.LABEL_ALIASES)
    for hint in near:
        progress.warn(f"{hint}; {hint.remedy}")


def backend_of(url: str) -> str:
    """SQLAlchemy's name of the database; empty for what is no URL."""
    return url.partition("://")[0].partition("+")[0].lower()


def write_counts(store: Store, labels: Mapping[str, int]) -> None:
    """`unique_labels_and_counts.json`."""
    text = json.dumps(labels, indent=2, ensure_ascii=False) + "\n"
    store.write(layout.LABEL_COUNTS, text.encode())


def warn_of_lookalikes(progress: Progress, rows: pl.DataFrame, aliases: Mapping[str, str]) -> None:
    """Name labels that only differ in case, spaces or Unicode form, and how to join them."""
    labelled = rows.filter(pl.col("label").str.strip_chars() != "")
    counts = dict(labelled.group_by("label").len().iter_rows())
    for group in lookalikes(counts, aliases):
        new, *others = group
        told = ", ".join(f"{quote_names([label])} ({counts[label]:,} rows)" for label in group)
        lines = [f"{old} = {new}" for old in others if _can_be_alias(old, new)]
        remedy = (
            f"to join them, write under LABEL_ALIASES: {'; '.join(lines)}"
            if len(lines) == len(others)
            else "settings.ini cannot name spaces at a label's ends: TRIM it in LABEL_QUERY"
        )
        progress.warn(
            f"labels that look alike: {told} differ only in case, spaces or Unicode form; {remedy}"
        )


def warn_of_kept_text(progress: Progress, rows: pl.DataFrame) -> None:
    """Count the labels that are the database's own text of what no type here holds."""
    if "kept_as_text" not in rows.columns:  # of a snapshot that was taken before there was one
        return
    is_kept = pl.col("kept_as_text").str.contains(r"\blabel\b")
    kept = rows.filter(is_kept)["label"].drop_nulls()
    if kept.len():
        examples = quote_names(kept.unique().sort().head(EXAMPLES))
        progress.warn(
            f"{kept.len():,} labels are no ordinary values of their type and stand as the "
            f"database's own text: {examples}; leave them out in LABEL_QUERY if they mean nothing"
        )


def lookalikes(counts: Mapping[str, int], aliases: Mapping[str, str]) -> list[list[str]]:
    """Groups of labels that a person would read as one, the most frequent first in each."""
    groups: dict[str, dict[str, int]] = {}
    for label, count in counts.items():
        final = aliases.get(label, label)
        folded = " ".join(unicodedata.normalize("NFKC", final).casefold().split())
        group = groups.setdefault(folded, {})
        group[final] = group.get(final, 0) + (count if final in counts else 0)
    found = [
        sorted((name for name in group if name in counts), key=lambda name: (-group[name], name))
        for group in groups.values()
    ]
    return [group for group in found if len(group) > 1]


def _can_be_alias(old: str, new: str) -> bool:
    """Can settings.ini hold this line? It trims both sides, and `=` parts them."""
    plain = all(name == name.strip() and name.isprintable() for name in (old, new))
    return plain and "=" not in old


def _nothing_to_learn(
    rows: pl.DataFrame,
    listing: Listing,
    labels: Mapping[str, int],
    fates: Counter[str],
    pattern: str,
    near: Sequence[Hint],
) -> DataError:
    told = ", ".join(f"{name} {count:,}" for name, count in fates.most_common())
    if labels:
        (label,) = labels
        told += "".join(f". {hint}; {hint.remedy}" for hint in near)
        return DataError(
            f"all {labels[label]:,} artifacts that are left have the label {quote_names([label])}; "
            f"a classifier needs two. Fates: {told}",
            where=f"{_LABEL_REPORT_PLACE} LABEL_QUERY",
            remedy="the reasons are in the data; does the query filter by label?",
        )
    if near:
        cause = "; ".join(str(hint) for hint in near)
        remedy = "; ".join(dict.fromkeys(hint.remedy for hint in near))
    else:
        cause, remedy = _likely_cause(rows, listing, fates, pattern)
    return DataError(
        f"no artifact is left after matching. Fates: {told}. {cause}",
        where=_LABEL_REPORT_PLACE,
        remedy=remedy,
    )


def _likely_cause(
    rows: pl.DataFrame, listing: Listing, fates: Counter[str], pattern: str
) -> tuple[str, str]:
    without = rows.filter(pl.col("fate") == Fate.NO_FILES.value)
    worst = fates.most_common(1)[0][0]
    if listing.named or without.is_empty() or worst not in (Fate.NO_FILES, Fate.NO_LABEL_ROW):
        example = rows.filter(pl.col("fate") == worst).head(1).to_dicts()[0]
        told = f"For example {quote_names([example['artifact_id']])}: {example['reason']}"
        if worst == Fate.MISSING_FILES:
            return _other_names(told, listing, example["artifact_id"])
        return told, "mend the cause that is named"
    key = listing.files.sort("key").head(1).collect().to_dicts()[0]
    seen = listing.files.select("key").collect()["key"].sort()
    some = seen.gather_every(max(1, seen.len() // pattern_hint.MOST)).to_list()
    return (
        f"The key {quote_names([key['key']])} is read as "
        f"artifact {quote_names([key['artifact_id']])}; " + pattern_hint.examples(without, some),
        pattern_hint.remedy(pattern, some, without["artifact_id"])
        or "check KEY_PATTERN, FILES_URL and the ids that LABEL_QUERY gives",
    )


def _other_names(told: str, listing: Listing, artifact_id: str) -> tuple[str, str]:
    """What files of an artifact are called that has none of those that are asked for."""
    files = listing.files.filter(pl.col("artifact_id") == artifact_id).select("file", "key")
    found = files.sort("file").head(EXAMPLES).collect()
    if found.is_empty():  # label rows that name files may name none that is there
        return told, "mend the cause that is named"
    named = f"{told}; its files are named {quote_names(found['file'], EXAMPLES)}"
    return named, (
        "name them in FILES_FROM_PROD; where each artifact's file has another name, by a glob such "
        f"as *{PurePosixPath(found['file'][0]).suffix or ''}"
    )
