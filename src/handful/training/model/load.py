"""The model: fetched, built by the user's `load_model` or the default, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handful.errors import Absent, UserError
from handful.errors.exceptions import message, shortage
from handful.experiment.context import open_in_store
from handful.experiment.model_identity import is_in_hub_cache
from handful.files.paths import at_home
from handful.layout import model_folder
from handful.progress import Progress
from handful.settings import Settings
from handful.settings.recipe import Facts
from handful.storage.base import Source
from handful.training.calls import call, settings_for
from handful.training.model.pooling import Pooling
from handful.training.model.pretrained import AUTO, MODEL, load_pretrained, some
from handful.training.model.weight_dtypes import check_own_weights, memory_note
from handful.training.model.weight_views import part_storage
from handful.user_functions.load import Functions

LOAD_MODEL = "load_model"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from."""

    model: str
    """As `MODEL_NAMES` has it."""
    name: str
    """What `from_pretrained` takes: a hub name or a local directory."""

    @property
    def is_local(self) -> bool:
        return Path(self.name).is_dir()


def find_model(settings: Settings, scratch: Path, model: str) -> ModelSource:
    """Fetch an `s3://` folder, and check that a local directory is there. `UserError` if not."""
    if model.startswith("s3://"):
        parent, _, folder = model.rstrip("/").rpartition("/")
        if parent == "s3:/":
            parent, folder = model.rstrip("/"), ""
        source: Source = open_in_store(settings, parent)
        try:
            local = source.fetch_tree(folder, scratch / "models")
        except Absent as error:
            raise _no_model(model, "there is nothing in that folder") from error
        return ModelSource(model, str(local))
    if model.startswith(("/", ".", "~")):
        path = at_home(model)
        if not path.is_dir():
            raise _no_model(model, "there is no such directory")
        return ModelSource(model, str(path))
    return ModelSource(model, model)


@dataclass(frozen=True)
class Built:
    """A model before training."""

    model: torch.nn.Module
    is_default: bool
    """Is it the default one, and none of `load_model`?"""
    fresh: tuple[str, ...] = ()
    """Names of the weights that are new; of a model of `load_model`'s it is not known."""
    pooling: Pooling | None = None
    """What stands on a default model's encoder; None: as its class does it."""
    wanted: Pooling | None = None
    """What its checkpoint or POOLING has said, be it the class's own to do."""


def _load_default_model(
    source: ModelSource, label2id: Mapping[str, int], pooling: str | Pooling, progress: Progress
) -> Built:
    found = load_pretrained(source.name, label2id, pooling)
    name = model_folder(source.model)
    if found.pooling:
        progress.note(f"{name}: classifies its tokens' states, pooled by {found.pooling}")
    if found.fresh:
        progress.note(f"{name}: new, to be trained: {some(found.fresh)}")
    if found.stored:
        progress.note(f"{name}: {memory_note(found.model, found.stored)}")
    part_storage(found.model)
    return Built(found.model, True, found.fresh, found.pooling, found.wanted)


def _no_model(model: str, what: str) -> UserError:
    remedy = "write a hub name, a local directory (./models/NAME) or an s3://bucket/folder"
    return UserError(f"{model}: {what}", where="[train] MODEL_NAMES", remedy=remedy)


def build_model(
    functions: Functions,
    source: ModelSource,
    label2id: Mapping[str, int],
    settings: Settings,
    progress: Progress,
) -> torch.nn.Module:
    """The model alone: see `build`."""
    return build(functions, source, label2id, settings, progress).model


def build(
    functions: Functions,
    source: ModelSource,
    label2id: Mapping[str, int],
    settings: Settings,
    progress: Progress,
    pooling: str | Pooling | None = None,
) -> Built:
    """The model before training, by `load_model` or the default. `UserError` if it cannot be.

    `pooling`: of the default one, instead of what POOLING says.
    """
    quiet_libraries()
    settings = settings_for(settings, source.model)
    section = settings.train
    if not functions.has(LOAD_MODEL):
        return _load_default_model(source, label2id, pooling or section.POOLING, progress)
    if section.POOLING not in (AUTO, MODEL):
        progress.warn(
            f"{model_folder(source.model)}: POOLING = {section.POOLING} says nothing to "
            "load_model, which makes its own model"
        )
    model = call(
        functions,
        LOAD_MODEL,
        model_name=source.name,
        label2id=dict(label2id),
        id2label=inverse(label2id),
        settings=settings,
    )
    if not isinstance(model, torch.nn.Module):
        raise UserError(
            f"returned {type(model).__name__}, not a torch.nn.Module",
            where="load_model in functions.py",
        )
    told = check_own_weights(model)
    if told:
        progress.warn(f"{model_folder(source.model)}: {told}")
    part_storage(model)
    return Built(model, False)


def inverse(label2id: Mapping[str, int]) -> dict[int, str]:
    return {number: label for label, number in label2id.items()}


def quiet_libraries() -> None:
    """Their bars and hints would tear the progress of the command line apart."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def pad_values(model: torch.nn.Module, tokenizer: Any | None) -> dict[str, int]:
    """What features are padded with, where it is not 0.

    `input_ids`: the model's padding token, else the tokenizer's, else 0; `token_type_ids`: the
    tokenizer's padding segment.
    """
    token = getattr(getattr(model, "config", None), "pad_token_id", None)
    if token is None:
        token = getattr(tokenizer, "pad_token_id", None)
    segment = getattr(tokenizer, "pad_token_type_id", None)
    found = {"input_ids": int(token) if token is not None else 0}
    return found | ({"token_type_ids": int(segment)} if segment else {})


def facts_of(model: torch.nn.Module, documents: int) -> Facts:
    """What the rule of `auto` looks at."""
    embedded = {
        id(p)
        for part in model.modules()
        if isinstance(part, torch.nn.Embedding)
        for p in part.parameters()
    }
    trained = (p for p in model.parameters() if p.requires_grad and id(p) not in embedded)
    return Facts(documents, sum(p.numel() for p in trained))


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
_SENTENCEPIECE = ("*.model", "*.spm")


def load_tokenizer(source: ModelSource, functions: Functions, progress: Progress) -> Any | None:
    """The tokenizer that belongs to the model; None if it has none (not every model reads text).

    The hub is asked only for what is the hub's: a name that `load_model` alone knows may be that of
    a stranger's repository there.
    """
    if source.is_local:
        folder = Path(source.name)
        named = any((folder / name).is_file() for name in _TOKENIZER_FILES)
        if not named and not any(next(folder.glob(p), None) for p in _SENTENCEPIECE):
            return None
    elif functions.has(LOAD_MODEL) and not is_in_hub_cache(source.name):
        return None
    from transformers import AutoTokenizer

    try:
        # Unless it is told so, it asks the terminal whether code may be run.
        # Which model it is, the user says; code of it is never run.
        return AutoTokenizer.from_pretrained(source.name, trust_remote_code=False)  # nosec B615
    except Exception as error:  # libraries of all kinds; training goes without it
        short = shortage(error)
        if short:
            raise short from error
        words = " ".join(message(error).split())[:300]
        why = (
            "it wants code of its own, which is not run"
            if "trust_remote_code" in str(error)
            else words
        )
        progress.warn(
            f"{source.model}: its tokenizer cannot be loaded and will not stand in final/: {why}"
        )
        return None
