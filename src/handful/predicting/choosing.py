"""Which trained model predicts: the winner on validation, or the one that was asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful import layout
from handful.checksums import read_marker
from handful.errors import Absent, DataError, UserError
from handful.experiment import Experiment
from handful.kept_models import find_model_by_fingerprint
from handful.records import Run, Trained


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

    @property
    def name(self) -> str:
        return f"{layout.model_folder(self.model)} seed {self.seed}"


def choose(
    experiment: Experiment,
    model: str | None = None,
    seed: int | None = None,
    run: str | None = None,
) -> Chosen:
    """The best by `METRIC` on validation, of all `MODEL_NAMES` × `SEEDS` or of those asked for.

    `run`: the beginning of a fingerprint, also of a model that has been replaced. Ties go to the
    first in the order of training. Raises `DataError` if nothing is trained, and `UserError` if no
    trained model is the one asked for.
    """
    if run is not None:
        return _of_run(experiment, run, model, seed)
    where = f"{experiment.store.url}/{experiment.layout.trained_record}"
    try:
        trained = Trained.from_json(experiment.store.read(experiment.layout.trained_record))
    except Absent as error:
        remedy = "run `handful run EXP` first"
        raise DataError("no model is trained yet", where=where, remedy=remedy) from error
    wanted = layout.model_folder(model) if model else None
    runs = [
        run
        for run in trained.runs
        if wanted in (None, run.model) and (seed is None or run.seed == seed)
    ]
    if not runs:
        there = ", ".join(f"{run.model} seed {run.seed}" for run in trained.runs)
        asked = " ".join([model or "any model", f"seed {seed}" if seed is not None else ""])
        raise UserError(f"{asked.strip()} is not trained", where=where, remedy=f"there are {there}")
    best = runs[0] if len(runs) == 1 else max(runs, key=lambda run: _merit(experiment, run))
    return Chosen(_full_name(experiment, best.model), best.seed, best.weights_hash)


def _of_run(experiment: Experiment, run: str, model: str | None, seed: int | None) -> Chosen:
    found = find_model_by_fingerprint(experiment, run)
    if (model and layout.model_folder(model) != found.model) or seed not in (None, found.seed):
        what = f"the run {run} is another than --model and --seed name"
        raise UserError(what, where="--run", remedy=f"it is {found.name}: leave those two out")
    name = _full_name(experiment, found.model)
    weights, kept = str(found.record["weights_hash"]), found.key if found.kept else None
    return Chosen(name, found.seed, weights, kept=kept, pinned=True)


def folder_of(experiment: Experiment, chosen: Chosen) -> Path:
    """The model's folder on this machine."""
    if chosen.final is not None:
        return chosen.final
    key = chosen.kept or experiment.layout.final(chosen.model, chosen.seed)
    return experiment.store.fetch_tree(key, experiment.scratch / "trained")


def record_of(experiment: Experiment, chosen: Chosen, folder: Path) -> dict[str, Any]:
    """What handful.json says in `folder_of` it; `DataError` if there is no whole model."""
    try:
        return read_marker(folder / layout.FINAL_RECORD, _redo(experiment))
    except (OSError, ValueError) as error:
        what = f"{chosen.name} does not lie there whole: {layout.FINAL_RECORD} cannot be read"
        remedy = f"run `handful run {experiment.directory}`: an interrupted training goes on"
        raise DataError(what, where=str(folder), remedy=remedy) from error


def choose_final(experiment: Experiment, final: Path) -> Chosen:
    """The model of a final/ folder that lies on this machine. `DataError` if it is none."""
    path = final / layout.FINAL_RECORD
    try:
        record = read_marker(path, _redo(experiment))
        found = Chosen(record["model"], int(record["seed"]), record["weights_hash"], final)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name the final/ folder of a model that handful has trained"
        raise DataError(f"cannot be read: {error}", where=str(path), remedy=remedy) from error
    model = _full_name(experiment, found.model)
    return Chosen(model, found.seed, found.weights_hash, final, pinned=True)


def _redo(experiment: Experiment) -> str:
    return f"train it again: `handful run {experiment.directory} --redo train`"


def temperature_of(experiment: Experiment, chosen: Chosen, record: Mapping[str, Any]) -> float:
    """What the logits are divided by before softmax; 1 where none was fitted yet. `DataError`.

    `record` is what its handful.json says; a model that was trained again to the same weights has
    it in the results of the test alone.
    """
    value = record.get("temperature")
    if value is None:
        value = _tested_temperature(experiment, chosen)
    if isinstance(value, bool) or not isinstance(value, int | float):
        good = False
    else:
        good = math.isfinite(value) and value > 0
    if not good:
        what = f"the temperature {value!r} is no positive number"
        raise DataError(what, where=layout.FINAL_RECORD, remedy="run `handful run --redo train`")
    return float(value)


def _tested_temperature(experiment: Experiment, chosen: Chosen) -> Any:
    try:
        key = experiment.layout.metrics(chosen.model, chosen.seed)
        found = json.loads(experiment.store.read(key))
        same = found["weights_hash"] == chosen.weights_hash
        return found["calibration"]["temperature"] if same else 1.0
    except (Absent, ValueError, KeyError, TypeError):
        return 1.0


def _merit(experiment: Experiment, run: Run) -> float:
    section = experiment.settings.train
    value = run.metrics.get(section.METRIC)
    if value is None:
        raise DataError(
            f"{run.model} seed {run.seed} was not validated by {section.METRIC!r}",
            where="[train] METRIC",
            remedy="run `handful run` with the METRIC of the training, or name --model and --seed",
        )
    return value if section.METRIC_GOAL == "max" else -value


def _full_name(experiment: Experiment, folder: str) -> str:
    """The name in `MODEL_NAMES` whose folder it is; `UserError` if there is none any more."""
    names = experiment.settings.train.MODEL_NAMES
    for name in names:
        if layout.model_folder(name) == folder:
            return name
    raise UserError(
        f"the trained model {folder!r} is no longer named there",
        where="[train] MODEL_NAMES",
        remedy=f"add it again, or run `handful run`; there are {', '.join(names)}",
    )
