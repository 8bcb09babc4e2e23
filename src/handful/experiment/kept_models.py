"""Trained models that newer ones have replaced: kept/<fingerprint>/ beside final/.

Whole or absent at any moment: final/ moves as it is, marker last, and only then does the new one
take its place. So the old model lies whole in final/, in kept/, or in both; those that are too old
go when the new one stands.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.errors import Absent, Damaged, UserError
from handful.experiment.context import Experiment
from handful.layout import FINAL, FINAL_RECORD, KEPT, model_folder, probe_folder

_PLACE = re.compile(
    rf"(?P<run>.+)/(?:{FINAL}|{KEPT}/(?P<kept>[0-9a-f]+))/{re.escape(FINAL_RECORD)}"
)
_DIGITS = 12


@dataclass(frozen=True)
class TrainedModel:
    """One that stands whole in the store."""

    key: str
    """Its folder."""
    record: Mapping[str, Any]
    """What its handful.json says."""
    kept: bool
    """Has a newer one replaced it?"""

    @property
    def model(self) -> str:
        """The name of its folder."""
        return str(self.record["model"])

    @property
    def seed(self) -> int:
        return int(self.record["seed"])

    @property
    def probe(self) -> bool:
        """Is it the model's probe? Nothing replaces one: a new one takes its place."""
        return bool(self.record.get("probe"))

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.record)

    @property
    def finished_at(self) -> str:
        """An ISO moment; empty for the first stores', which are older than any that has one."""
        return str(self.record.get("finished_at", ""))

    @property
    def name(self) -> str:
        """As a person reads it."""
        what = probe_folder(self.model) if self.probe else f"{self.model} seed {self.seed}"
        return f"{self.fingerprint} ({what}, {self.state})"

    @property
    def state(self) -> str:
        return "kept" if self.kept else "in use"


def fingerprint_of(record: Mapping[str, Any]) -> str:
    """Of what a model was made from, and of what came out: two that differ never share one."""
    told = [record["model"], record["seed"], record["made_from"], record["weights_hash"]]
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def final_fingerprint(experiment: Experiment, model: str, seed: int) -> str:
    """Of the model that stands in final/; empty if none does."""
    found = _load_model_record(experiment, _record_of(experiment, model, seed))
    return found.fingerprint if found else ""


def replace_final(
    experiment: Experiment, model: str, seed: int, folder: Path, record: Mapping[str, Any]
) -> None:
    """Put the local `folder`, whose handful.json says `record`, where final/ is.

    What stood there goes to kept/, of which `MODELS_KEPT` stay.
    """
    store, layout = experiment.store, experiment.layout
    final, name = layout.final(model, seed), f"{model_folder(model)} seed {seed}"
    old = _load_model_record(experiment, _record_of(experiment, model, seed))
    if old is not None and old.fingerprint != fingerprint_of(record):
        if experiment.settings.train_for(model).MODELS_KEPT:
            experiment.progress.note(
                f"{name}: the model that stood there is replaced and kept: "
                f"`handful predict EXP PATH --run {old.fingerprint}` uses it"
            )
            target = layout.kept(model, seed, old.fingerprint)
            # Left half or stale by a move that was killed: the whole one is the one in final/.
            _remove(experiment, target)
            store.move_tree(final, target, last=FINAL_RECORD)
        else:
            experiment.progress.note(
                f"{name}: the model that stood there ({old.fingerprint}) is replaced, and not "
                "kept ([train] MODELS_KEPT = 0)"
            )
    store.send_tree(folder, final, last=FINAL_RECORD)
    remove_older(experiment, model, seed, old)


def remove_older(
    experiment: Experiment, model: str, seed: int, newest: TrainedModel | None = None
) -> None:
    """Keep so many replaced models as `MODELS_KEPT` says, the last ones; `newest` is the first.

    Also goes what a kill has left there: half a model, and one that is in use (again).
    """
    layout, most = experiment.layout, experiment.settings.train_for(model).MODELS_KEPT
    keys = list(_keys(experiment, f"{layout.kept(model, seed)}/"))
    if not keys:
        return
    whole = _whole(experiment, [*keys, _record_of(experiment, model, seed)])
    kept = [one for one in whole if one.kept]
    kept.sort(key=lambda one: one.finished_at, reverse=True)
    kept.sort(key=lambda one: newest is None or one.fingerprint != newest.fingerprint)
    for one in kept[most:]:
        experiment.progress.note(
            f"{model_folder(model)} seed {seed}: the model {one.fingerprint}, replaced earlier, is "
            f"removed ([train] MODELS_KEPT = {most})"
        )
        _remove(experiment, one.key)
    for folder in _leftovers(experiment, keys, model, seed):
        _remove(experiment, folder)


def _leftovers(experiment: Experiment, keys: Sequence[str], model: str, seed: int) -> set[str]:
    """Folders below kept/ without a marker, and the one whose model is in use."""
    mine = experiment.layout.kept(model, seed)
    folders = {f"{mine}/{key.removeprefix(f'{mine}/').partition('/')[0]}" for key in keys}
    in_use = _load_model_record(experiment, _record_of(experiment, model, seed))
    again = f"{mine}/{in_use.fingerprint}" if in_use else ""
    return {one for one in folders if one == again or f"{one}/{FINAL_RECORD}" not in keys}


def list_replaced_models(experiment: Experiment) -> list[TrainedModel]:
    """All that are kept, each run's behind the one that is in use; empty if none is kept."""
    keys = list(_keys(experiment, f"{experiment.layout.models}/"))
    if not any(place["kept"] for key in keys if (place := _PLACE.fullmatch(key))):
        return []
    found = _in_order(_whole(experiment, keys))
    runs = {(one.model, one.seed) for one in found if one.kept}
    return [one for one in found if (one.model, one.seed) in runs and not one.probe]


def list_trained_models(experiment: Experiment) -> list[TrainedModel]:
    """Every one of this dataset, by model and seed: the one in use, then the last replaced."""
    return _in_order(_whole(experiment, _keys(experiment, f"{experiment.layout.models}/")))


def find_model_by_fingerprint(experiment: Experiment, beginning: str) -> TrainedModel:
    """The one whose fingerprint begins so; `UserError` that lists them if it is not just one."""
    there = list_trained_models(experiment)
    found = [one for one in there if beginning and one.fingerprint.startswith(beginning.lower())]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} trained models have" if found else "no trained model has"
    names = ", ".join(one.name for one in found or there)
    raise UserError(
        f"{what} a fingerprint that begins with {beginning!r}",
        where="--run",
        remedy=f"there {'is' if len(found or there) == 1 else 'are'} {names}"
        if there
        else "run `handful run EXP` first",
    )


def _in_order(models: Iterable[TrainedModel]) -> list[TrainedModel]:
    newest_first = sorted(models, key=lambda one: one.finished_at, reverse=True)
    return sorted(newest_first, key=lambda one: (one.model, one.seed, one.kept))


def _whole(experiment: Experiment, keys: Iterable[str]) -> list[TrainedModel]:
    """Those whose record can be read. What a killed move left in both places is in use."""
    found = [one for key in keys if (one := _load_model_record(experiment, key)) is not None]
    in_use = {one.fingerprint for one in found if not one.kept}
    return [one for one in found if not one.kept or one.fingerprint not in in_use]


def _load_model_record(experiment: Experiment, key: str) -> TrainedModel | None:
    """The model whose handful.json lies at `key`; None if that is none, or damaged."""
    place = _PLACE.fullmatch(key)
    if place is None:
        return None
    try:
        record = json.loads(experiment.store.read(key))
        found = TrainedModel(key.rpartition("/")[0], record, kept=place["kept"] is not None)
        same = found.fingerprint == place["kept"] or not found.kept
    except (Absent, Damaged, ValueError, KeyError, TypeError):
        return None
    return found if same else None


def _record_of(experiment: Experiment, model: str, seed: int) -> str:
    return f"{experiment.layout.final(model, seed)}/{FINAL_RECORD}"


def _keys(experiment: Experiment, prefix: str) -> Iterator[str]:
    for batch in experiment.store.list(prefix):
        yield from batch.column("key").to_pylist()


def _remove(experiment: Experiment, folder: str) -> None:
    """Its marker first: who finds one finds the whole."""
    experiment.store.delete([f"{folder}/{FINAL_RECORD}"])
    experiment.store.delete_tree(folder)
