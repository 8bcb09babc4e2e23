"""Calling the user's functions: what they raise is told with its place in their own file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from handful.errors import HandfulError, UserError
from handful.errors.exceptions import message, original, place_in, shortage
from handful.settings import Settings
from handful.user_functions.load import FILE, Functions


def call(functions: Functions, name: str, **menu: Any) -> Any:
    """Call one of the five. `UserError` with file and line for whatever it raises.

    Errors of handful's own pass through as they are; what the machine lacks is told as that.
    """
    try:
        return functions.call(name, **menu)
    except HandfulError:
        raise
    except Exception as error:
        short = shortage(error)
        if short:
            raise short from error
        raise UserError(
            f"{type(original(error)).__name__}: {_shorten_call_error(error)}",
            where=f"{place(functions.directory, error)} in {name}",
            remedy=remedy_for(error),
        ) from error


def place(directory: Path, error: BaseException) -> str:
    """`file:line` of the last line of the experiment's own code that `error` went through."""
    return place_in(directory, error) or FILE


HUB_REMEDY = (
    "is the name right? Where the hub cannot be reached, name a local directory (./models/NAME) or "
    "an s3://bucket/folder in MODEL_NAMES, or let HF_HOME name a cache that holds the model; "
    "a private or gated model wants HF_TOKEN in the environment; with HF_HUB_OFFLINE there "
    "nobody asks the hub, in a job neither"
)
_HUB_WORDS = ("huggingface.co", "connect", "not a valid model identifier", "gated", "offline")


def remedy_for(error: BaseException) -> str:
    """The way out of what often goes wrong when a model is loaded; empty for all else."""
    if "ignore_mismatched_sizes" in message(error):
        return (
            "the saved head has another number of labels: pass num_labels=len(label2id) and "
            "ignore_mismatched_sizes=True to from_pretrained"
        )
    hubs = isinstance(error, OSError) or "huggingface_hub" in type(error).__module__
    text = message(error).lower()
    return HUB_REMEDY if hubs and any(word in text for word in _HUB_WORDS) else ""


def _shorten_call_error(error: BaseException, limit: int = 300) -> str:
    text = " ".join(message(error).split())
    return text if len(text) <= limit else f"{text[:limit]}…"


def settings_for(settings: Settings, model: str) -> Settings:
    """The settings as the functions see them for one model: its `[train:<model>]` applied."""
    return replace(settings, train=settings.train_for(model))
