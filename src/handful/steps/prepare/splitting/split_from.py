"""SPLIT_FROM: the split of another experiment in the same STORE, so that both can be compared.

An artifact that the other experiment has placed goes where it is there. Others are drawn around
them. What this experiment has placed itself stays there, whatever becomes of the other one.
"""

from __future__ import annotations

from collections.abc import Mapping

from handful.errors import UserError
from handful.experiment.context import open_checked
from handful.layout import RECONCILED, Layout
from handful.progress import Progress
from handful.settings import Settings
from handful.steps.prepare.splitting.ledger import Ledger, read_ledger
from handful.steps.prepare.splitting.splits import SPLITS, Drawn
from handful.storage.base import Store

_SETTING_SPLIT_FROM = "[prepare] SPLIT_FROM"
_FULL_DATASET_NAME = "full_dataset"


def merge_earlier_draws(
    settings: Settings, progress: Progress, own: Ledger | None
) -> Mapping[str, Drawn]:
    """Artifact id → where it stays: what `load_borrowed_draws` gives, and what this experiment
    has placed.

    By the form of the ids that ID_FORMAT asks for. Where two ids become one, what was trained on
    stays trained on: it must not come into another split's score.
    """
    other, mine = load_borrowed_draws(settings, progress), own.drawn() if own else {}
    if settings.production.ID_FORMAT != "guid":
        return {**other, **mine}
    # It brings polars, which each worker of prepare would have to import, too.
    from handful.steps.reconcile.keys.guids import normalize_guid_keys

    return {
        **normalize_guid_keys(_order_train_first(other)),
        **normalize_guid_keys(_order_train_first(mine)),
    }


def _order_train_first(drawn: Mapping[str, Drawn]) -> Mapping[str, Drawn]:
    order = {split: place for place, split in enumerate(SPLITS)}
    return dict(sorted(drawn.items(), key=lambda one: order.get(one[1].split, len(order))))


def load_borrowed_draws(settings: Settings, progress: Progress) -> Mapping[str, Drawn]:
    """Artifact id → where the experiment SPLIT_FROM has put it; nothing if there is none.

    Its dataset of the same name is taken, else its full one. `UserError` if there is neither.
    """
    name = settings.prepare.SPLIT_FROM
    if name is None:
        return {}
    mine = settings.experiment
    if name == mine.NAME:
        raise UserError(
            "this is the experiment itself", where=_SETTING_SPLIT_FROM, remedy="name another one"
        )
    if "/" in name or name in {".", ".."}:
        raise UserError(
            f"{name!r} is no experiment's name",
            where=_SETTING_SPLIT_FROM,
            remedy="the name of an experiment in the same STORE, as in its [experiment] NAME",
        )
    store = open_checked(settings, name)
    for dataset in dict.fromkeys((settings.prepare.ENCODED_DATA_DIR, _FULL_DATASET_NAME)):
        found = read_ledger(store, Layout(dataset).splits)
        if found is not None:
            progress.note(
                f"splits: {len(found.rows):,} artifacts are placed as in {name} (SPLIT_FROM)"
            )
            return found.drawn()
    has = "it was reconciled, but not prepared" if _is_there(store) else "there is nothing of it"
    raise UserError(
        f"the experiment {name!r} has no split in {mine.STORE}: {has}",
        where=_SETTING_SPLIT_FROM,
        remedy="prepare it first, or correct the name",
    )


def _is_there(store: Store) -> bool:
    return any(batch.num_rows for batch in store.list(RECONCILED))
