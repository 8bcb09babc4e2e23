"""The probes that stand whole in the store: any of them may be the model that predicts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handful.errors import Absent, DataError
from handful.experiment.context import Experiment
from handful.layout import FINAL_RECORD, model_folder, probe_folder

PROBE_SEED = 0
"""Of its results' folder: a probe draws nothing."""


@dataclass(frozen=True)
class Probe:
    """The probe of one model: a linear head on the model's frozen features."""

    model: str
    """As `MODEL_NAMES` has it."""
    weights_hash: str
    validation: Mapping[str, float]
    """Its metrics there, as far as they are finite numbers."""
    data_hash: str | None
    """Of the encoded data that it was made from."""


def standing_probes(experiment: Experiment) -> list[Probe]:
    """Those of `MODEL_NAMES` that were tested, and whose final/ is the one that was tested.

    `DataError` if one cannot be read.
    """
    found = (_probe(experiment, name) for name in experiment.settings.train.MODEL_NAMES)
    return [one for one in found if one is not None]


def _probe(experiment: Experiment, model: str) -> Probe | None:
    tested = _read_probe_json(
        experiment, experiment.layout.metrics(probe_folder(model), PROBE_SEED)
    )
    if tested is None or tested.get("probe_of") != model_folder(model):
        return None
    final = _read_probe_json(experiment, f"{experiment.layout.probe_final(model)}/{FINAL_RECORD}")
    if final is None or final.get("weights_hash") != tested.get("weights_hash"):
        return None
    validation = {
        name: value
        for name, value in tested.get("validation", {}).items()
        if value is not None and math.isfinite(value)
    }
    return Probe(model, str(final["weights_hash"]), validation, final.get("data_hash"))


def data_hash(experiment: Experiment, folder: str) -> str | None:
    """Of the encoded data that the trained model of this folder was made from."""
    found = _read_probe_json(experiment, f"{folder}/{FINAL_RECORD}")
    return found.get("data_hash") if found else None


def _read_probe_json(experiment: Experiment, key: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(experiment.store.read(key)))
    except Absent:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(
            f"cannot be read: {error}",
            where=f"{experiment.store.url}/{key}",
            remedy="make it again: `handful run EXP --redo test`",
        ) from error
