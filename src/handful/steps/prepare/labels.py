"""The label knobs, in their order, and the label map.

LABEL_ALIASES → IGNORED_LABELS → NUM_LABELS_THRESHOLD; MAX_ARTIFACTS comes later
(see `handful.steps.prepare.selection`).
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from handful.errors import Absent, DataError, UserError
from handful.layout import Layout
from handful.progress import printable
from handful.settings import Settings
from handful.steps.prepare.artifacts import Artifact
from handful.storage.base import Store

LETTERS = 60
"""Of a label in a message."""
_MAX_LABELS_LISTED = 10


@dataclass(frozen=True)
class Labelled:
    """All kept artifacts with their labels after LABEL_ALIASES."""

    artifacts: tuple[Artifact, ...]
    dropped: Mapping[str, str]
    """Label → why its artifacts are left out."""
    gone: tuple[str, ...] = ()
    """Labels that a knob names, and that no artifact has any more: it does nothing there."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to train on, sorted."""
        return tuple(sorted({a.label for a in self.artifacts} - set(self.dropped)))


def apply_knobs(
    artifacts: tuple[Artifact, ...], settings: Settings, seen: Collection[str] = ()
) -> Labelled:
    """Rename labels and say which are left out.

    Raises `UserError` for an alias or an ignored label that does not exist and never did (`seen`
    are the labels of before), `DataError` when fewer than two labels remain.
    """
    knobs = settings.prepare
    _check_aliases(artifacts, knobs.LABEL_ALIASES, seen)
    there = {artifact.label for artifact in artifacts}
    gone = [old for old in knobs.LABEL_ALIASES if old not in there]
    artifacts = apply_label_aliases(artifacts, knobs.LABEL_ALIASES)
    counts = Counter(artifact.label for artifact in artifacts)
    dropped = _find_ignored_labels(counts, knobs.IGNORED_LABELS, knobs.LABEL_ALIASES, seen)
    gone += [label for label in knobs.IGNORED_LABELS if label not in counts]
    for label, count in sorted(counts.items()):
        if label not in dropped and count < knobs.NUM_LABELS_THRESHOLD:
            wanted = f"{knobs.NUM_LABELS_THRESHOLD} artifacts that NUM_LABELS_THRESHOLD asks for"
            dropped[label] = f"its label has only {count} of the {wanted}"
    labelled = Labelled(artifacts, dropped, tuple(dict.fromkeys(gone)))
    _check_enough(labelled)
    return labelled


def apply_label_aliases(
    artifacts: tuple[Artifact, ...], aliases: Mapping[str, str]
) -> tuple[Artifact, ...]:
    """LABEL_ALIASES, each label renamed at most once: `a = b` and `b = a` swap the two."""
    return tuple(
        replace(artifact, label=aliases[artifact.label]) if artifact.label in aliases else artifact
        for artifact in artifacts
    )


def _check_aliases(
    artifacts: Iterable[Artifact], aliases: Mapping[str, str], seen: Collection[str]
) -> None:
    known = {artifact.label for artifact in artifacts}
    for old in aliases:
        if old not in known and old not in seen:
            raise _no_such_label(old, known, "LABEL_ALIASES")


def _find_ignored_labels(
    counts: Mapping[str, int],
    ignored: tuple[str, ...],
    aliases: Mapping[str, str],
    seen: Collection[str],
) -> dict[str, str]:
    for label in ignored:
        if label not in counts and (label in aliases or label not in seen):
            raise _no_such_label(label, counts, "IGNORED_LABELS", aliases.get(label))
    return dict.fromkeys(ignored, "its label is one of IGNORED_LABELS")


def _no_such_label(
    label: str, known: Iterable[str], key: str, now_called: str | None = None
) -> UserError:
    if now_called:
        remedy = f"LABEL_ALIASES renames it to {now_called!r} first; ignore that instead"
    else:
        remedy = f"did you mean {nearest(label, known)}?"
    return UserError(
        f"no artifact has the label {label!r}", where=f"[prepare] {key}", remedy=remedy
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to `name`, quoted; else the first few of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if not near:
        folded = {one.casefold(): one for one in known}
        near = [folded[name.casefold()]] if name.casefold() in folded else []
    return repr(near[0]) if near else f"one of {', '.join(map(repr, known[:8]))}"


def _check_enough(labelled: Labelled) -> None:
    labels = labelled.labels
    if len(labels) > 1:
        return
    left = f"only the label {labels[0]!r} is left" if labels else "no label is left"
    reasons = "; ".join(f"{label}: {why}" for label, why in list(labelled.dropped.items())[:5])
    raise DataError(
        f"a classifier needs at least two labels, and {left}",
        where="[prepare]",
        remedy=f"left out were {reasons}" if reasons else "look at the label query",
    )


# --- the label map -------------------------------------------------------------------------------


def labels_seen(
    before: Iterable[str] | None, frozen: Mapping[str, int] | None, now: Iterable[str]
) -> tuple[str, ...]:
    """Every label that was ever seen, in the order in which they came; together: sorted.

    `before`: those of the last time, None in a ledger of an earlier build; then the order of its
    label map (`frozen`) counts where it shows that labels came one after the other. `now`: the
    labels of all kept artifacts, as production and as LABEL_ALIASES name them: a label that was
    merged, or left out, from the beginning has its place for the day on which that is undone.
    """
    if before is None:
        before = frozen or ()
        if list(before) == sorted(before):
            now, before = {*before, *now}, ()
    first = list(before)
    return (*first, *sorted(set(now) - set(first)))


def dense_label_map(labels: Iterable[str], seen: Sequence[str]) -> dict[str, int]:
    """Label → id, 0, 1, 2, … in the order of `seen`: what is gone has no id, and leaves no hole."""
    used = set(labels)
    return {label: number for number, label in enumerate(one for one in seen if one in used)}


def label_map(labels: Iterable[str], frozen: Mapping[str, int] | None) -> dict[str, int]:
    """KEEP_LABEL_IDS: label → id. Labels that come later are appended, old ids stay for good."""
    label2id = dict(frozen or {})
    for label in sorted(set(labels) - set(label2id)):
        label2id[label] = len(label2id)
    return label2id


def describe_gone_labels(labelled: Labelled) -> str | None:
    """That knobs name labels that are gone; None if none does."""
    if not labelled.gone:
        return None
    return (
        f"LABEL_ALIASES or IGNORED_LABELS name labels that no artifact has any more: "
        f"{_format_label_names(labelled.gone)}"
    )


def describe_label_id_changes(before: Mapping[str, int], now: Mapping[str, int]) -> str | None:
    """That labels have other ids than `before`, or none any more; None if nothing of it is so."""
    gone = sorted(before.keys() - now.keys())
    moved = [label for label in before if label in now and before[label] != now[label]]
    if not gone and not moved:
        return None
    what = [f"no artifact has {_format_label_names(gone)} any more"] if gone else []
    what += (
        [f"{_format_label_names(moved)} got another id"] if moved else ["the others keep their ids"]
    )
    return (
        f"label ids are dense: {', and '.join(what)}. A model that is trained already keeps its "
        "own ids, also in predict; [prepare] KEEP_LABEL_IDS = true, set before a label goes, keeps "
        "all ids"
    )


def _format_label_names(labels: Sequence[str]) -> str:
    more = (
        f" and {len(labels) - _MAX_LABELS_LISTED} more" if len(labels) > _MAX_LABELS_LISTED else ""
    )
    return ", ".join(printable(label, LETTERS) for label in labels[:_MAX_LABELS_LISTED]) + more


def read_frozen_label_map(store: Store, layout: Layout) -> dict[str, int] | None:
    """The label map in the store, None if there is none yet. `DataError` if it is damaged."""
    try:
        data = store.read(layout.label2id)
    except Absent:
        return None
    try:
        found = {str(label): int(number) for label, number in json.loads(data).items()}
        if sorted(found.values()) != list(range(len(found))):
            raise ValueError("there are holes")
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            "the label map is damaged: its ids are not 0, 1, 2, …",
            where=f"{store.url}/{layout.label2id}",
            remedy="restore the file, or make it anew with `--redo prepare`",
        ) from error
    return dict(sorted(found.items(), key=lambda item: item[1]))


def keep_label_map(store: Store, layout: Layout, label2id: Mapping[str, int]) -> None:
    """Write both label maps. label2id.json comes last: it is the one that is read again."""
    names = {str(number): label for label, number in label2id.items()}
    store.write(layout.id2label, _encode_label_json(names))
    store.write(layout.label2id, _encode_label_json(label2id))


def _encode_label_json(mapping: Mapping[str, object]) -> bytes:
    return (json.dumps(mapping, indent=2, ensure_ascii=False) + "\n").encode()
