"""Which artifacts this dataset uses: the label knobs' verdict, and the sample of MAX_ARTIFACTS.

The sample is stratified, and a smaller one is contained in a larger.

A label's artifacts stand in a line in which every beginning has about the label's own mix of
splits; the lines are merged so that every beginning of the whole has about the mix of labels, with
one artifact of each label at the very front (Adams' divisor method). Both merges are by a fixed
key, so a longer beginning always contains a shorter one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from handful.records import Split
from handful.settings import Settings
from handful.steps.prepare.artifacts import rank
from handful.steps.prepare.labels import Labelled
from handful.steps.prepare.splitting.ledger import Ledger, Row, ledger_draw_settings
from handful.steps.prepare.splitting.splits import Drawn


class Used(NamedTuple):
    """An artifact that is encoded."""

    artifact_id: str
    label: str
    """After LABEL_ALIASES."""


@dataclass(frozen=True)
class Candidate:
    """An artifact that may be chosen."""

    id: str
    label: str
    split: str


def sample(candidates: Iterable[Candidate], size: int, seed: int) -> frozenset[str]:
    """The ids of `size` of the candidates (all of them if there are not so many)."""
    by_label: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_label[candidate.label].append(candidate)
    keyed = [
        (position / len(line), rank(seed, one.id), one.id)
        for members in by_label.values()
        for line in [_order_label_candidates(members, seed)]
        for position, one in enumerate(line)
    ]
    return frozenset(artifact_id for _, _, artifact_id in sorted(keyed)[:size])


def _order_label_candidates(members: list[Candidate], seed: int) -> list[Candidate]:
    """One label's artifacts, so mixed that every beginning has about its shares of splits.

    One to learn from stands in front. Where a split's first comes after it differs from label to
    label: a few of each of many labels would else be of one split all.
    """
    by_split: dict[str, list[Candidate]] = defaultdict(list)
    for member in sorted(members, key=lambda m: rank(seed, m.id)):
        by_split[member.split].append(member)
    learnt_from = by_split[Split.TRAIN][:1]
    keyed = [
        ((position + _phase(seed, one.label, split)) / len(same), split, position, one)
        for split, same in by_split.items()
        for position, one in enumerate(same)
        if one not in learnt_from
    ]
    return [*learnt_from, *(one for *_, one in sorted(keyed, key=lambda k: k[:3]))]


def _phase(seed: int, label: str, split: str) -> float:
    """Evenly spread between 0 and 1."""
    return int(rank(seed, f"{label}\0{split}")[:8], 16) / 16**8


def select_used_by_label(labelled: Labelled, settings: Settings) -> tuple[Used, ...] | None:
    """Who is used, where no split was drawn before: the label knobs' verdict alone.

    The draw leaves nobody out then, as nobody can tie together what lies apart. None if
    MAX_ARTIFACTS takes a sample, which looks at the splits.
    """
    used = tuple(Used(a.id, a.label) for a in labelled.artifacts if a.label not in labelled.dropped)
    size = settings.prepare.MAX_ARTIFACTS
    return used if size is None or size >= len(used) else None


def list_used_artifacts(ledger: Ledger) -> tuple[Used, ...]:
    """Who is used, as it was drawn."""
    return tuple(Used(row.artifact_id, row.label) for row in ledger.used())


def build_selection_ledger(
    labelled: Labelled, drawn: Mapping[str, Drawn], settings: Settings
) -> Ledger:
    """The ledger of this dataset: what was drawn, less what the knobs leave out."""
    why: dict[str, str] = {}
    candidates = []
    for artifact in labelled.artifacts:
        place = drawn[artifact.id]
        if place.split == Split.LEFT_OUT:
            why[artifact.id] = place.reason
        elif artifact.label in labelled.dropped:
            why[artifact.id] = labelled.dropped[artifact.label]
        else:
            candidates.append(Candidate(artifact.id, artifact.label, place.split))
    size = settings.prepare.MAX_ARTIFACTS
    if size is not None and size < len(candidates):
        taken = sample(candidates, size, settings.experiment.SEED)
        reason = f"it is not in the sample of MAX_ARTIFACTS = {size}"
        why |= {one.id: reason for one in candidates if one.id not in taken}
    rows = tuple(
        Row(
            artifact.id,
            artifact.label,
            Split.LEFT_OUT.value if artifact.id in why else drawn[artifact.id].split,
            drawn[artifact.id].group,
            why.get(artifact.id, "drawn"),
            drawn[artifact.id].split,
        )
        for artifact in labelled.artifacts
    )
    return Ledger(rows, ledger_draw_settings(settings))
