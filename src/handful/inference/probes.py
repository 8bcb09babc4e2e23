"""The probes that stand whole in the store: any of them may be the model that predicts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handful.errors import Absent, DataError
from handful.layout import FINAL_RECORD, Layout, model_folder, probe_folder
from handful.storage.base import Store

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


def standing_probes(store: Store, mine: Layout, models: Sequence[str]) -> list[Probe]:
    """Of `models` (MODEL_NAMES), those that were tested, and whose final/ is what was tested.

    `DataError` if one cannot be read.
    """
    found = (_probe(store, mine, name) for name in models)
    return [one for one in found if one is not None]


def _probe(store: Store, mine: Layout, model: str) -> Probe | None:
    tested = _read_probe_json(store, mine.metrics(probe_folder(model), PROBE_SEED))
    if tested is None or tested.get("probe_of") != model_folder(model):
        return None
    final = _read_probe_json(store, f"{mine.probe_final(model)}/{FINAL_RECORD}")
    if final is None or final.get("weights_hash") != tested.get("weights_hash"):
        return None
    validation = {
        name: value
        for name, value in tested.get("validation", {}).items()
        if value is not None and math.isfinite(value)
    }
    return Probe(model, str(final["weights_hash"]), validation, final.get("data_hash"))


def data_hash(store: Store, folder: str) -> str | None:
    """Of the encoded data that the trained model of this folder was made from."""
    found = _read_probe_json(store, f"{folder}/{FINAL_RECORD}")
    return found.get("data_hash") if found else None


def _read_probe_json(store: Store, key: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(store.read(key)))
    except Absent:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(
            f"cannot be read: {error}",
            where=f"{store.url}/{key}",
            remedy="make it again: `handful run EXP --redo test`",
        ) from error
