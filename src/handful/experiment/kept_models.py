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
from handful.layout import FINAL, FINAL_RECORD, KEPT, Layout, model_folder, probe_folder
from handful.progress import Progress
from handful.storage.base import Store

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


@dataclass(frozen=True)
class ModelStore:
    """The trained models of one dataset: those in use, and those that newer ones have replaced."""

    store: Store
    layout: Layout

    def final_fingerprint(self, model: str, seed: int) -> str:
        """Of the model that stands in final/; empty if none does."""
        found = self._load(self._record_of(model, seed))
        return found.fingerprint if found else ""

    def replace_final(
        self, folder: Path, record: Mapping[str, Any], most: int, progress: Progress
    ) -> None:
        """Put the local `folder`, whose handful.json says `record`, where final/ is.

        What stood there goes to kept/, of which `most` (MODELS_KEPT) stay.
        """
        model, seed = str(record["model"]), int(record["seed"])
        final, name = self.layout.final(model, seed), f"{model} seed {seed}"
        old = self._load(self._record_of(model, seed))
        if old is not None and old.fingerprint != fingerprint_of(record):
            if most:
                progress.note(
                    f"{name}: the model that stood there is replaced and kept: "
                    f"`handful predict EXP PATH --run {old.fingerprint}` uses it"
                )
                target = self.layout.kept(model, seed, old.fingerprint)
                # Left half or stale by a move that was killed: the whole one is the one in final/.
                self._remove(target)
                self.store.move_tree(final, target, last=FINAL_RECORD)
            else:
                progress.note(
                    f"{name}: the model that stood there ({old.fingerprint}) is replaced, and not "
                    "kept ([train] MODELS_KEPT = 0)"
                )
        self.store.send_tree(folder, final, last=FINAL_RECORD)
        self.remove_older(model, seed, most, progress, old.fingerprint if old else "")

    def remove_older(
        self, model: str, seed: int, most: int, progress: Progress, newest: str = ""
    ) -> None:
        """Keep `most` replaced models, the last ones; `newest`, a fingerprint, is the first.

        Also goes what a kill has left there: half a model, and one that is in use (again).
        """
        keys = list(self._keys(f"{self.layout.kept(model, seed)}/"))
        if not keys:
            return
        kept = [one for one in self._whole([*keys, self._record_of(model, seed)]) if one.kept]
        kept.sort(key=lambda one: one.finished_at, reverse=True)
        kept.sort(key=lambda one: one.fingerprint != newest)
        for one in kept[most:]:
            progress.note(
                f"{model_folder(model)} seed {seed}: the model {one.fingerprint}, replaced "
                f"earlier, is removed ([train] MODELS_KEPT = {most})"
            )
            self._remove(one.key)
        for folder in self._leftovers(keys, model, seed):
            self._remove(folder)

    def list_replaced(self) -> list[TrainedModel]:
        """All that are kept, each run's behind the one that is in use; empty if none is kept."""
        keys = list(self._keys(f"{self.layout.models}/"))
        if not any(place["kept"] for key in keys if (place := _PLACE.fullmatch(key))):
            return []
        found = _in_order(self._whole(keys))
        runs = {(one.model, one.seed) for one in found if one.kept}
        return [one for one in found if (one.model, one.seed) in runs and not one.probe]

    def list_trained(self) -> list[TrainedModel]:
        """Every one, by model and seed: the one in use, then the last replaced."""
        return _in_order(self._whole(self._keys(f"{self.layout.models}/")))

    def find_by_fingerprint(self, beginning: str) -> TrainedModel:
        """The one whose fingerprint begins so; `UserError` that lists them if not just one does."""
        there = self.list_trained()
        found = [m for m in there if beginning and m.fingerprint.startswith(beginning.lower())]
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

    def _leftovers(self, keys: Sequence[str], model: str, seed: int) -> set[str]:
        """Folders below kept/ without a marker, and the one whose model is in use."""
        mine = self.layout.kept(model, seed)
        folders = {f"{mine}/{key.removeprefix(f'{mine}/').partition('/')[0]}" for key in keys}
        again = f"{mine}/{self.final_fingerprint(model, seed)}"
        return {one for one in folders if one == again or f"{one}/{FINAL_RECORD}" not in keys}

    def _whole(self, keys: Iterable[str]) -> list[TrainedModel]:
        """Those whose record can be read. What a killed move left in both places is in use."""
        found = [one for key in keys if (one := self._load(key)) is not None]
        in_use = {one.fingerprint for one in found if not one.kept}
        return [one for one in found if not one.kept or one.fingerprint not in in_use]

    def _load(self, key: str) -> TrainedModel | None:
        """The model whose handful.json lies at `key`; None if that is none, or damaged."""
        place = _PLACE.fullmatch(key)
        if place is None:
            return None
        try:
            record = json.loads(self.store.read(key))
            found = TrainedModel(key.rpartition("/")[0], record, kept=place["kept"] is not None)
            same = found.fingerprint == place["kept"] or not found.kept
        except (Absent, Damaged, ValueError, KeyError, TypeError):
            return None
        return found if same else None

    def _record_of(self, model: str, seed: int) -> str:
        return f"{self.layout.final(model, seed)}/{FINAL_RECORD}"

    def _keys(self, prefix: str) -> Iterator[str]:
        for batch in self.store.list(prefix):
            yield from batch.column("key").to_pylist()

    def _remove(self, folder: str) -> None:
        """Its marker first: who finds one finds the whole."""
        self.store.delete([f"{folder}/{FINAL_RECORD}"])
        self.store.delete_tree(folder)


def _in_order(models: Iterable[TrainedModel]) -> list[TrainedModel]:
    newest_first = sorted(models, key=lambda one: one.finished_at, reverse=True)
    return sorted(newest_first, key=lambda one: (one.model, one.seed, one.kept))
