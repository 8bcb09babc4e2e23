"""final/: the trained model as it leaves, and how it is opened again.

A model of transformers is written with `save_pretrained`, so that `from_pretrained` opens it; any
other module as `model.safetensors`, which is put into what the user's `load_model` builds.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from handful.errors import Absent, StepError, UserError
from handful.files import checksums
from handful.layout import FINAL_RECORD
from handful.progress import Progress
from handful.settings import Settings
from handful.storage.base import Store
from handful.training.model.card import model_card
from handful.training.model.load import LOAD_MODEL, ModelSource, build_model, inverse
from handful.training.model.pooled import PooledClassifier, class_name, reopen_pooled
from handful.training.model.pretrained import reopen_pretrained
from handful.user_functions.load import Functions

WEIGHTS = "model.safetensors"
OWN_WEIGHTS = "module.safetensors"
"""Beside `WEIGHTS` when save_pretrained gives the weights other names than the module has."""
CARD = "README.md"
ADAPTER = "adapter"
"""A folder."""
POOLING = "pooling"
"""In the record of a model that pools as its class does not."""
FORMAT = 1
LIBRARIES = ("handful", "torch", "transformers", "accelerate", "datasets", "safetensors")
ENCODING = ("get_dataset_features in functions.py", "encode_data in functions.py")
_ONE_FILE = "100TB"


@dataclass(frozen=True)
class Opened:
    """A trained model, and what its handful.json says."""

    model: torch.nn.Module
    record: Mapping[str, Any]


def save_final(
    folder: Path, model: torch.nn.Module, tokenizer: Any | None, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the whole of final/ to the local `folder`; the record with its weights' hashes.

    `record` is what handful.json says beside them; it has `label2id` and what the card tells.
    """
    folder.mkdir(parents=True)
    _name_labels(model, record["label2id"])
    if tokenizer is not None:
        # Who calls it with truncation cuts where encode_data did.
        tokenizer.model_max_length = record.get("max_length") or tokenizer.model_max_length
        tokenizer.save_pretrained(folder)
    name = _save_weights(folder, model)
    _save_adapter(folder, model)
    files = checksums.of_folder(folder)
    pooling = None
    if isinstance(model, PooledClassifier):
        pooling = {**model.pooling.to_json(), "encoder": type(model.encoder).__name__}
    full = {
        "format": FORMAT,
        **record,
        **({POOLING: pooling} if pooling else {}),
        "weights": {name: files[name].sha256},
        "weights_hash": files[WEIGHTS].sha256,
        "class": class_name(model),
    }
    (folder / CARD).write_text(model_card(full))
    files[CARD] = checksums.of_file(folder / CARD)
    full[checksums.FILES] = checksums.to_json(files)
    text = json.dumps(full, indent=2, ensure_ascii=False)
    (folder / FINAL_RECORD).write_bytes(checksums.seal(f"{text}\n".encode()))
    return full


def encoding_functions(store: Store, key: str) -> dict[str, str]:
    """Entry → hash of the functions that made the encoded data; empty if prepare did not say.

    `key`: of prepared.json.
    """
    try:
        made_from = json.loads(store.read(key))["made_from"]
        return {entry: made_from[entry] for entry in ENCODING if entry in made_from}
    except (Absent, ValueError, KeyError, TypeError):
        return {}


def versions() -> dict[str, str]:
    """Of what a model is made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _name_labels(model: torch.nn.Module, label2id: Mapping[str, int]) -> None:
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "id2label"):
        config.id2label, config.label2id = inverse(label2id), dict(label2id)


def _save_weights(folder: Path, model: torch.nn.Module) -> str:
    """Write the weights; the name of the file that load_model's module is filled from."""
    from transformers import PreTrainedModel

    name = WEIGHTS
    if isinstance(model, PooledClassifier):
        model.config.architectures = [type(model.encoder).__name__]
        model.config.save_pretrained(folder)
        save_model(model, str(folder / name), metadata={"format": "pt"})
    elif isinstance(model, PreTrainedModel):
        model.save_pretrained(folder, max_shard_size=_ONE_FILE)
        if not _can_load_final_weights(model, folder / WEIGHTS):
            name = OWN_WEIGHTS
            save_model(model, str(folder / name))
    else:
        save_model(model, str(folder / name))
    return name


def _save_adapter(folder: Path, model: torch.nn.Module) -> None:
    """Of a model that PEFT wraps, its adapter alone, too: small, and opened by PEFT itself."""
    adapted: Any = model
    if hasattr(model, "peft_config") and hasattr(model, "save_pretrained"):
        # "auto" would ask the hub whether the base model's vocabulary has changed.
        adapted.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)


def _can_load_final_weights(model: torch.nn.Module, weights: Path) -> bool:
    """Can the file be loaded into the module as it is? (It holds the very same numbers.)"""
    try:
        load_model(model, str(weights), strict=True)
    except RuntimeError:
        return False
    return True


def open_final(
    functions: Functions,
    source: ModelSource,
    folder: Path,
    weights_hash: str,
    settings: Settings,
    progress: Progress,
) -> Opened:
    """The model as it was trained.

    `Damaged` if a file is not as it was written; `StepError` if the weights are not those of
    `weights_hash`; `UserError` if `load_model` builds another model now than when it was trained.
    """
    remedy = f"train it again: `handful run {functions.directory} --redo train`"
    record = checksums.read_marker(folder / FINAL_RECORD, remedy)
    files = checksums.check_folder(folder, record, remedy)
    for name, expected in [(WEIGHTS, weights_hash), *record["weights"].items()]:
        if (files.get(name) or checksums.of_file(folder / name)).sha256 != expected:
            raise StepError(
                "the weights are not those that were trained",
                where=str(folder / name),
                remedy=remedy,
            )
    label2id = record["label2id"]
    if not functions.has(LOAD_MODEL) and POOLING not in record:
        return Opened(reopen_pretrained(folder, label2id), record)
    if functions.has(LOAD_MODEL):
        model = build_model(functions, source, label2id, settings, progress)
    else:
        model = reopen_pooled(folder, record[POOLING], len(label2id))
    (name,) = record["weights"]
    try:
        load_model(model, str(folder / name), strict=True)
    except RuntimeError as error:
        raise UserError(
            f"builds another model than was trained: {' '.join(str(error).split())[:300]}",
            where="load_model in functions.py",
            remedy="let it depend only on its parameters, or run `handful run --redo train`",
        ) from error
    return Opened(model, record)
