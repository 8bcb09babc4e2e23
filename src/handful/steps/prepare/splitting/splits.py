"""Draws the splits: stratified by label, groups whole, and nothing that was placed ever moves.

The greedy of many multi-label stratifiers (Sechidis, Tsoumakas and Vlahavas, 2011, "On the
stratification of multi-label data"): the rarest label first, its largest group first, each to the
split that lacks most of that label. The shares are turned into whole numbers per label beforehand,
so that without groups every label and split is within one artifact of its share. What whole groups
leave uneven is evened out afterwards (see `balancing`): within half of the label's largest group,
wherever whole groups allow that. And where labels that are near their shares add up to splits that
are not, these are evened out, too (see `totals`).

The result depends on the seed, the artifacts and the previous ledger only. Drawn at once and grown
in steps are two different histories, and give two different ledgers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from handful.records import Split
from handful.steps.prepare.artifacts import Artifact, rank
from handful.steps.prepare.splitting import balancing
from handful.steps.prepare.splitting.balancing import balance
from handful.steps.prepare.splitting.groups import Grouping, Links, grouped
from handful.steps.prepare.splitting.quotas import RARE_FIRST, Shares, quota
from handful.steps.prepare.splitting.totals import Group, even_out

SPLITS = (Split.TRAIN.value, Split.VALIDATION.value, Split.TEST.value)
"""In the order of `SPLIT`'s shares."""


@dataclass(frozen=True)
class Drawn:
    """Where one artifact was put, whether or not this dataset uses it."""

    split: str
    """train | validation | test, or left_out where it would tie two of them together."""
    group: str
    """The smallest artifact id of its group; its own if it stands alone."""
    reason: str


@dataclass
class _Unit:
    """One group without a split yet."""

    key: str
    members: list[int] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)


def draw(
    artifacts: Sequence[Artifact],
    links: Links,
    previous: Mapping[str, Drawn],
    shares: Shares,
    seed: int,
) -> dict[str, Drawn]:
    """Artifact id → where it was put. Those in `previous` stay where they are."""
    before = {i: previous[a.id].split for i, a in enumerate(artifacts) if a.id in previous}
    banned = frozenset(i for i, split in before.items() if split == Split.LEFT_OUT)
    fixed = {i: split for i, split in before.items() if i not in banned}
    newcomers = sorted(
        (i for i in range(len(artifacts)) if i not in before),
        key=lambda i: rank(seed, artifacts[i].id),
    )
    grouping = grouped(links, fixed, banned, newcomers)
    placed = _place_artifacts(artifacts, grouping, fixed, banned, shares, seed)
    names = _name_groups(artifacts, grouping)
    return {
        artifact.id: previous[artifact.id]
        if i in banned
        else Drawn(placed[i], names[grouping.root[i]], _reason(i, grouping))
        for i, artifact in enumerate(artifacts)
    }


def _name_groups(artifacts: Sequence[Artifact], grouping: Grouping) -> dict[int, str]:
    names: dict[int, str] = {}
    for artifact, root in zip(artifacts, grouping.root, strict=True):
        names[root] = min(names.get(root, artifact.id), artifact.id)
    return names


def _reason(i: int, grouping: Grouping) -> str:
    tied = grouping.left_out.get(i)
    return f"it would tie {' and '.join(tied)} together" if tied else "drawn"


def _place_artifacts(
    artifacts: Sequence[Artifact],
    grouping: Grouping,
    fixed: Mapping[int, str],
    banned: frozenset[int],
    shares: Shares,
    seed: int,
) -> dict[int, str]:
    """Artifact number → split, for all but the banned."""
    placed = dict(fixed) | dict.fromkeys(grouping.left_out, Split.LEFT_OUT.value)
    home = {grouping.root[i]: split for i, split in fixed.items()}
    units: dict[int, _Unit] = {}
    for i, artifact in enumerate(artifacts):
        if i in placed or i in banned:
            continue
        root = grouping.root[i]
        if root in home:
            placed[i] = home[root]
            continue
        unit = units.setdefault(root, _Unit(rank(seed, artifact.id)))
        unit.members.append(i)
        unit.labels[artifact.label] += 1
    have = Counter((artifacts[i].label, split) for i, split in placed.items())
    settled = {(label, SPLITS.index(s)): n for (label, s), n in have.items() if s in SPLITS}
    counts = Counter(
        a.label for i, a in enumerate(artifacts) if i not in banned and i not in grouping.left_out
    )
    filled = _fill_splits(list(units.values()), counts, have, shares)
    largest = _largest(artifacts, grouping, placed, units.values())
    balanced = _balance_units(filled, counts, have, shares, largest)
    splits = even_out(
        [Group(unit.labels, unit.key) for unit, _ in balanced],
        [SPLITS.index(split) for _, split in balanced],
        settled,
        largest,
        shares,
    )
    for (unit, _), number in zip(balanced, splits, strict=True):
        placed |= dict.fromkeys(unit.members, SPLITS[number])
    return placed


def _largest(
    artifacts: Sequence[Artifact],
    grouping: Grouping,
    placed: Mapping[int, str],
    units: Iterable[_Unit],
) -> Mapping[str, int]:
    """Label → how many of its artifacts its largest group has."""
    sizes = Counter((grouping.root[i], artifacts[i].label) for i in placed)
    for unit in units:
        root = grouping.root[unit.members[0]]
        sizes.update({(root, label): count for label, count in unit.labels.items()})
    largest: dict[str, int] = defaultdict(int)
    for (_, label), size in sizes.items():
        largest[label] = max(largest[label], size)
    return largest


def _balance_units(
    filled: list[tuple[_Unit, str]],
    counts: Mapping[str, int],
    have: Counter[tuple[str, str]],
    shares: Shares,
    largest: Mapping[str, int],
) -> list[tuple[_Unit, str]]:
    """The same units, exchanged where a label is further from its share than it may be."""
    labels = sorted(counts)
    number = {label: place for place, label in enumerate(labels)}
    splits = balance(
        [{number[label]: n for label, n in unit.labels.items()} for unit, _ in filled],
        [SPLITS.index(split) for _, split in filled],
        np.array([[have[label, split] for split in SPLITS] for label in labels], np.float64),
        balancing.Shares(
            np.array([quota(counts[label], shares) for label in labels], np.float64),
            np.outer([counts[label] for label in labels], shares),
            np.array([largest[label] for label in labels], np.float64),
            [share > 0 for share in shares],
        ),
    )
    return [(unit, SPLITS[split]) for (unit, _), split in zip(filled, splits, strict=True)]


def _fill_splits(
    units: list[_Unit],
    counts: Mapping[str, int],
    have: Counter[tuple[str, str]],
    shares: Shares,
) -> list[tuple[_Unit, str]]:
    """Every unit with the split that lacks most of the rarest of its labels."""
    wanted = {
        label: dict(zip(SPLITS, quota(n, shares), strict=True)) for label, n in counts.items()
    }
    # One without a share lacks nothing; and while a unit is left, another lacks something.
    in_turn = [SPLITS[split] for split in RARE_FIRST]
    by_label: dict[str, list[_Unit]] = defaultdict(list)
    rarity = {
        label: place for place, label in enumerate(sorted(counts, key=lambda x: (counts[x], x)))
    }
    for unit in units:
        by_label[min(unit.labels, key=rarity.__getitem__)].append(unit)
    found = []
    for label in sorted(by_label, key=rarity.__getitem__):
        for unit in sorted(by_label[label], key=lambda u: (-len(u.members), u.key)):
            lack = {s: wanted[label][s] - have[label, s] for s in in_turn}
            split = max(in_turn, key=lack.__getitem__)
            for each, count in unit.labels.items():
                have[each, split] += count
            found.append((unit, split))
    return found
