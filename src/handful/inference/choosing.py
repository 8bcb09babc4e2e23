"""Which trained model predicts: the winner on validation, or the one that was asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handful import layout
from handful.errors import Absent, DataError, UserError
from handful.experiment.context import Experiment
from handful.experiment.kept_models import ModelStore, TrainedModel
from handful.files.checksums import read_marker
from handful.inference.probes import PROBE_SEED, Probe, data_hash, standing_probes
from handful.layout import Layout, probe_folder
from handful.records import Run, Trained
from handful.settings import TrainSection
from handful.storage.base import Store


@dataclass(frozen=True)
class Chosen:
    """One trained model."""

    model: str
    """As `MODEL_NAMES` has it."""
    seed: int
    weights_hash: str
    final: Path | None = None
    """Its final/ on this machine; None: it lies in the experiment's store."""
    kept: str | None = None
    """Its folder in the store, if it has been replaced."""
    pinned: bool = False
    """May it be another than what was trained last, with other settings and functions?"""
    probe: bool = False
    """Is it the model's probe, a linear head on its frozen features?"""

    @property
    def folder(self) -> str:
        """The name of its folder among the results."""
        return layout.probe_folder(self.model) if self.probe else layout.model_folder(self.model)

    @property
    def name(self) -> str:
        return self.folder if self.probe else f"{self.folder} seed {self.seed}"


def choose(
    experiment: Experiment,
    model: str | None = None,
    seed: int | None = None,
    run: str | None = None,
) -> Chosen:
    """The best by `METRIC` on validation, of all `MODEL_NAMES` × `SEEDS` or of those asked for.

    Without `model` and `seed` the models' probes are among them; as `model`, `baseline-probe--X`
    is the probe of X. `run`: the beginning of a fingerprint, also of a model that has been
    replaced. Ties go to the first in the order of training, and to a model before a probe. Raises
    `DataError` if nothing is trained, and `UserError` if no trained model is the one asked for.
    """
    store, mine, section = experiment.store, experiment.layout, experiment.settings.train
    if run is not None:
        found = ModelStore(store, mine).find_by_fingerprint(run)
        folder = probe_folder(found.model) if found.probe else found.model
        if (model and layout.model_folder(model) != folder) or seed not in (None, found.seed):
            what = f"the run {run} is another than --model and --seed name"
            raise UserError(what, where="--run", remedy=f"it is {found.name}: leave those two out")
        return _of_run(found, section.MODEL_NAMES)
    where = f"{store.url}/{mine.trained_record}"
    try:
        trained = Trained.from_json(store.read(mine.trained_record))
    except Absent as error:
        remedy = "run `handful run EXP` first"
        raise DataError("no model is trained yet", where=where, remedy=remedy) from error
    wanted = layout.model_folder(model) if model else None
    runs = [
        run
        for run in trained.runs
        if wanted in (None, run.model) and (seed is None or run.seed == seed)
    ]
    if not runs and model and seed in (None, PROBE_SEED):
        for one in standing_probes(store, mine, section.MODEL_NAMES):
            if probe_folder(one.model) == model:
                return _of_probe(one)
    if not runs:
        names = [f"{run.model} seed {run.seed}" for run in trained.runs]
        names += [
            probe_folder(one.model) for one in standing_probes(store, mine, section.MODEL_NAMES)
        ]
        there = ", ".join(names)
        asked = " ".join([model or "any model", f"seed {seed}" if seed is not None else ""])
        raise UserError(f"{asked.strip()} is not trained", where=where, remedy=f"there are {there}")
    best = runs[0] if len(runs) == 1 else max(runs, key=lambda run: _merit(section, run))
    if model is None and seed is None:
        probe = _better_probe(store, mine, section, trained, best)
        if probe is not None:
            return _of_probe(probe)
    return Chosen(_full_name(section.MODEL_NAMES, best.model), best.seed, best.weights_hash)


def _better_probe(
    store: Store, mine: Layout, section: TrainSection, trained: Trained, best: Run
) -> Probe | None:
    """The best probe, if it is better on validation than the `best` of the trained models."""
    sign = 1.0 if section.METRIC_GOAL == "max" else -1.0
    value = best.metrics.get(section.METRIC)
    if value is None:
        return None

    def merit(probe: Probe) -> float:
        return sign * probe.validation.get(section.METRIC, -sign * math.inf)

    better = [
        probe
        for probe in standing_probes(store, mine, section.MODEL_NAMES)
        if merit(probe) > sign * value and _on_the_same_data(store, mine, probe, trained)
    ]
    return max(better, key=merit, default=None)


def _on_the_same_data(store: Store, mine: Layout, probe: Probe, trained: Trained) -> bool:
    """Was it validated on what its model was? Not before the test that follows a new training."""
    folder = layout.model_folder(probe.model)
    seeds = [run.seed for run in trained.runs if run.model == folder]
    return any(data_hash(store, mine.final(probe.model, seed)) == probe.data_hash for seed in seeds)


def _of_probe(probe: Probe) -> Chosen:
    return Chosen(probe.model, PROBE_SEED, probe.weights_hash, probe=True)


def _of_run(found: TrainedModel, names: Sequence[str]) -> Chosen:
    name = _full_name(names, found.model)
    weights, kept = str(found.record["weights_hash"]), found.key if found.kept else None
    return Chosen(name, found.seed, weights, kept=kept, pinned=True, probe=found.probe)


def folder_of(store: Store, mine: Layout, scratch: Path, chosen: Chosen) -> Path:
    """The model's folder on this machine."""
    if chosen.final is not None:
        return chosen.final
    final = (
        mine.probe_final(chosen.model) if chosen.probe else mine.final(chosen.model, chosen.seed)
    )
    return store.fetch_tree(chosen.kept or final, scratch / "trained")


def record_of(chosen: Chosen, folder: Path, directory: Path) -> dict[str, Any]:
    """What handful.json says in `folder_of` it; `DataError` if there is no whole model.

    `directory`: the experiment's.
    """
    try:
        return read_marker(folder / layout.FINAL_RECORD, _redo(directory))
    except (OSError, ValueError) as error:
        what = f"{chosen.name} does not lie there whole: {layout.FINAL_RECORD} cannot be read"
        remedy = f"run `handful run {directory}`: an interrupted training goes on"
        raise DataError(what, where=str(folder), remedy=remedy) from error


def choose_final(final: Path, directory: Path, names: Sequence[str]) -> Chosen:
    """The model of a final/ folder that lies on this machine. `DataError` if it is none.

    `directory` and `names`: of the experiment, and its MODEL_NAMES.
    """
    path = final / layout.FINAL_RECORD
    try:
        record = read_marker(path, _redo(directory))
        probe = bool(record.get("probe"))
        weights = record["weights_hash"]
        found = Chosen(record["model"], int(record["seed"]), weights, final, probe=probe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name the final/ folder of a model that handful has trained"
        raise DataError(f"cannot be read: {error}", where=str(path), remedy=remedy) from error
    model = _full_name(names, found.model)
    return replace(found, model=model, pinned=True)


def _redo(directory: Path) -> str:
    return f"train it again: `handful run {directory} --redo train`"


def temperature_of(store: Store, mine: Layout, chosen: Chosen, record: Mapping[str, Any]) -> float:
    """What the logits are divided by before softmax; 1 where none was fitted yet. `DataError`.

    `record` is what its handful.json says; a model that was trained again to the same weights has
    it in the results of the test alone.
    """
    value = record.get("temperature")
    if value is None:
        value = _temperature_from_test(store, mine, chosen)
    if isinstance(value, bool) or not isinstance(value, int | float):
        good = False
    else:
        good = math.isfinite(value) and value > 0
    if not good:
        what = f"the temperature {value!r} is no positive number"
        raise DataError(what, where=layout.FINAL_RECORD, remedy="run `handful run --redo train`")
    return float(value)


def _temperature_from_test(store: Store, mine: Layout, chosen: Chosen) -> Any:
    try:
        found = json.loads(store.read(mine.metrics(chosen.folder, chosen.seed)))
        same = found["weights_hash"] == chosen.weights_hash
        return found["calibration"]["temperature"] if same else 1.0
    except (Absent, ValueError, KeyError, TypeError):
        return 1.0


def _merit(section: TrainSection, run: Run) -> float:
    value = run.metrics.get(section.METRIC)
    if value is None:
        raise DataError(
            f"{run.model} seed {run.seed} was not validated by {section.METRIC!r}",
            where="[train] METRIC",
            remedy="run `handful run` with the METRIC of the training, or name --model and --seed",
        )
    return value if section.METRIC_GOAL == "max" else -value


def _full_name(names: Sequence[str], folder: str) -> str:
    """The one of MODEL_NAMES whose folder it is; `UserError` if there is none any more."""
    for name in names:
        if layout.model_folder(name) == folder:
            return name
    raise UserError(
        f"the trained model {folder!r} is no longer named there",
        where="[train] MODEL_NAMES",
        remedy=f"add it again, or run `handful run`; there are {', '.join(names)}",
    )
