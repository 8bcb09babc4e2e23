"""A split that has no rows: why that is, and what would help."""

from __future__ import annotations

from collections import Counter

from handful.errors import DataError
from handful.layout import QUARANTINE, Layout, model_folder
from handful.settings import Settings
from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.splitting.groups import Links
from handful.steps.prepare.splitting.ledger import Ledger, read_ledger
from handful.steps.prepare.splitting.splits import draw
from handful.storage.base import Store

_EMPTY_SPLIT_PLACE = "[prepare] SPLIT"


def empty_split(
    store: Store, layout: Layout, settings: Settings, model: str, split: str
) -> DataError:
    """The error for `split` of `model`, which has no rows."""
    what = f"the {split} split of {model} has no rows"
    ledger = read_ledger(store, layout.splits)
    if ledger is None:
        return DataError(what, where=_EMPTY_SPLIT_PLACE, remedy="run `handful prepare` first")
    lost = sum(row.split == split for row in ledger.used())
    if lost:
        return DataError(
            f"{what}: none of its {lost:,} artifacts could be encoded",
            where=f"{layout.encoded(model)}/{QUARANTINE}",
            remedy=f"see there why, for {model_folder(model)}, and mend encode_data",
        )
    counts = Counter(row.label for row in ledger.used())
    few = sum(count == 1 for count in counts.values())
    told = (
        f"{what}: of {sum(counts.values()):,} artifacts with {len(counts):,} labels none is in it"
    )
    if few:
        told += f"; {few:,} of the labels have one artifact each, which train takes"
    return DataError(
        told, where=_EMPTY_SPLIT_PLACE, remedy=_empty_split_remedy(settings, ledger, split)
    )


def _empty_split_remedy(settings: Settings, ledger: Ledger, split: str) -> str:
    most = settings.prepare.MAX_ARTIFACTS
    if most and any(row.drawn == split for row in ledger.rows):
        return f"take more than MAX_ARTIFACTS = {most}"
    if split in _redraw_split_names(settings, ledger):
        return "draw new splits with `--redo prepare`: these artifacts are enough for it"
    return (
        f"label more artifacts, give {split} a larger share, make one label of several with "
        "LABEL_ALIASES, or leave labels with few artifacts out with NUM_LABELS_THRESHOLD; what "
        "GROUP_BY and near-duplicates tie together stays in one split"
    )


def _redraw_split_names(settings: Settings, ledger: Ledger) -> set[str]:
    """The splits that the same artifacts, tied together as they are, would get today."""
    used = ledger.used()
    drawn = draw(
        [Artifact(row.artifact_id, row.label, (), "{}") for row in used],
        Links([(row.group,) for row in used], [None] * len(used), lambda *_: []),
        {},
        settings.prepare.SPLIT,
        settings.experiment.SEED,
    )
    return {place.split for place in drawn.values()}
