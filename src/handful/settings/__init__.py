"""settings.ini: the only room that reads INI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from handful.settings.ini import FILE
from handful.settings.keys import (
    SECTIONS,
    KeyDescription,
    TrainSection,
    is_required,
    keys_of,
)
from handful.settings.read import Settings, read_settings
from handful.settings.values import Limit, Range

__all__ = [
    "KeyDescription",
    "Limit",
    "Range",
    "Settings",
    "TrainSection",
    "counted",
    "counted_for_model",
    "describe_settings",
    "public_text",
    "read_settings",
    "settings_markdown",
]

_USER_COUNTS_FOR = {"reconcile", "prepare", "train", "test"}
_PASSWORD = re.compile(r"(://[^:/@\s]*:)(?!\$\{)[^@\s]*@")


def counted(settings: Settings, step: str) -> Mapping[str, str]:
    """The settings that decide what `step` makes: "[train] EPOCHS" → "3.0". No secret counts."""
    found = {
        f"[{section}] {key}": _shown(getattr(getattr(settings, section), key))
        for section in SECTIONS
        for key, declared in keys_of(section).items()
        if step in declared.counts_for
    }
    if step in _USER_COUNTS_FOR:
        found |= {f"[user] {k}": _shown(v) for k, v in settings.user.values.items()}
    if step == "train":
        for model in settings.per_model:
            found |= _differing(settings, model)
    return found


def counted_for_model(settings: Settings, model: str) -> Mapping[str, str]:
    """The settings that decide what training `model` makes, whatever other models there are."""
    section = settings.train_for(model)
    found = {
        f"[train] {key}": _shown(getattr(section, key))
        for key, declared in keys_of("train").items()
        if "train" in declared.counts_for and key not in {"MODEL_NAMES", "SEEDS"}
    }
    return found | {f"[user] {k}": _shown(v) for k, v in settings.user.values.items()}


def _differing(settings: Settings, model: str) -> dict[str, str]:
    own, common = settings.per_model[model], settings.train
    return {
        f"[train:{model}] {key}": _shown(getattr(own, key))
        for key in keys_of("train")
        if getattr(own, key) != getattr(common, key)
    }


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{old} = {new}" for old, new in sorted(value.items()))
    return str(value)


def describe_settings() -> list[KeyDescription]:
    """Every key, in the order of the sections."""
    found = []
    for section, kind in SECTIONS.items():
        defaults = {f.name: f.default for f in fields(kind)}
        for name, key in keys_of(section).items():
            default = key.default or _default_text(defaults[name])
            needed = is_required(section, name)
            found.append(
                KeyDescription(section, name, key.unit, default, key.meaning, needed, key.built)
            )
    found.append(
        KeyDescription(
            "user", "ANYTHING", "", "", "reaches every function as settings.user.KEY", False, True
        )
    )
    return found


def _default_text(default: Any) -> str:
    if default is MISSING or default is None or default in ((), ""):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return _shown(default)


def settings_markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# settings.ini",
        "",
        "Made by `handful.settings.settings_markdown()`; a test keeps it so. `handful settings`",
        "prints the same. `${NAME}` takes an environment variable, `$$` is a dollar sign; a",
        "comment has a line of its own, beginning with `#` or `;`. Lists are written over commas",
        "or lines. Relative paths are seen from the experiment's directory. Keys of",
        "`[train:<model>]` override those of `[train]` for one model.",
    ]
    section = ""
    for key in describe_settings():
        if key.section != section:
            section = key.section
            lines += ["", f"## [{section}]", "", "| key | default | unit | meaning |"]
            lines += ["|---|---|---|---|"]
        default = "**required**" if key.required else f"`{key.default}`" if key.default else "none"
        built = "" if key.built else " (not built yet)"
        lines.append(f"| `{key.key}` | {default} | {key.unit} | {key.meaning}{built} |")
    return "\n".join(lines) + "\n"


def public_text(directory: Path, overrides: tuple[str, ...] = ()) -> str:
    """settings.ini as it may be shown: variables unexpanded, passwords left out, `--set` added."""
    text = (directory / FILE).read_text(encoding="utf-8-sig")
    for override in overrides:
        text = text.rstrip("\n") + f"\n# --set {override}"
    return _PASSWORD.sub(r"\1***@", text.rstrip("\n") + "\n")
