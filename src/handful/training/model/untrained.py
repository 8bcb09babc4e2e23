"""A model before training, with its data: what is computed of it is the same until it changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from handful.experiment.context import Experiment
from handful.records import Split
from handful.training.data.collate import Collator
from handful.training.data.splits import SplitData
from handful.training.loop.process_group import Team
from handful.training.loop.stopping import Stopping
from handful.training.model.pooled import class_name
from handful.user_functions.source_hash import function_hashes

BATCH_SIZE = 32
KEPT = (Split.TRAIN, Split.VALIDATION)
"""The test split is looked at by trained models only."""
_UNTOLD = ("_name_or_path", "transformers_version")
"""Of a config: where it was read from says nothing of it."""
_MODEL_HASH_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """A model before training, and its data."""

    experiment: Experiment
    name: str
    """Of the model, as MODEL_NAMES has it."""
    model: nn.Module
    collate: Collator
    precision: str
    """ "fp32", "bf16" or "fp16"."""
    splits: Mapping[str, SplitData]
    """Train and validation."""
    data_hash: str
    """Of the encoded data."""
    team: Team
    batch_size: int = BATCH_SIZE
    stopping: Stopping | None = None
    """Of a training; the test has none."""

    @property
    def cpu_kernels(self) -> str:
        """CPU_KERNELS for this model."""
        return self.experiment.settings.train_for(self.name).CPU_KERNELS

    def heed(self) -> None:
        """Leave, all of the team together, if one of them was told to go."""
        if self.stopping and self.team.any(self.stopping.heard is not None)[0]:
            self.stopping.reached()
            raise self.stopping.error_before()


def hash_of(untrained: Untrained, left_out: Collection[str], more: Mapping[str, Any]) -> str:
    """Of all that the model's states depend on: weights, data, batches, arithmetic and libraries.

    `left_out`: the names of weights that they do not depend on; `more` is hashed with the rest.
    """
    model, directory = untrained.model, untrained.experiment.directory
    digest = hashlib.sha256()
    config: Any = getattr(model, "config", None)
    told = {
        **more,
        "data": untrained.data_hash,
        "class": class_name(model),
        # What its forward does, nobody can read off its weights.
        "load_model": function_hashes(directory).get("load_model", ""),
        "user": sorted(map(repr, untrained.experiment.settings.user.values.items())),
        "versions": [version(name) for name in ("torch", "transformers")],
        "pooling": str(getattr(model, "pooling", "")),
        "config": {n: v for n, v in _as_dict(config).items() if n not in _UNTOLD},
        "collation": untrained.collate.to_json(),
        "precision": untrained.precision,
    }
    if untrained.cpu_kernels == "off":
        told["cpu_kernels"] = "off"
    digest.update(json.dumps(told, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name in left_out:
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()[:_MODEL_HASH_DIGITS]


def _as_dict(config: Any) -> dict[str, Any]:
    return dict(config.to_dict()) if hasattr(config, "to_dict") else {}
