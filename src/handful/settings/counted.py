"""Which values decide what a step makes, as text: for fingerprints. No secret is among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.settings.declare import Key, keys_of
from handful.settings.model_sections import TrainSection
from handful.settings.secrets import hide_passwords, is_secret, without_login
from handful.settings.sections import SECTIONS, Settings

USER_COUNTS = frozenset({"reconcile", "prepare", "tune", "train", "test"})
"""Any function of the user may read `[user]`; the report calls none."""
_NOT_PER_RUN = frozenset({"MODEL_NAMES", "SEEDS"})


def counted(settings: Settings, step: str | None = None) -> Mapping[str, str]:
    """ "[train] EPOCHS" → "3.0": every value in effect, or those that the result of `step` needs.

    A password is left out; a place that was written as a relative path is told as it was written,
    so that an experiment may move with its directory.
    """
    found = {}
    for section, kind in SECTIONS.items():
        for key in keys_of(kind).values():
            if step is None or step in key.counts_for:
                value = getattr(getattr(settings, section), key.name)
                found[f"[{section}] {key.name}"] = _told(settings, section, key, value)
    if step in (None, "tune"):
        found |= {f"[tune] {one.key}": str(one) for one in settings.tune.ranges}
    if step in (None, "train"):
        found |= _per_model(settings, step)
    if step is None or step in USER_COUNTS:
        found |= _user(settings)
    return found


def counted_for_model(settings: Settings, model: str) -> Mapping[str, str]:
    """What training one model once depends on, whatever other models and seeds there are."""
    section = settings.train_for(model)
    found = {
        f"[train] {key.name}": as_text(getattr(section, key.name))
        for key in keys_of(TrainSection).values()
        if "train" in key.counts_for and key.name not in _NOT_PER_RUN
    }
    return found | _user(settings)


def _per_model(settings: Settings, step: str | None) -> dict[str, str]:
    keys = keys_of(TrainSection)
    return {
        f"{settings.as_written.get(section := f'[train:{model}]', section)} {name}": as_text(value)
        for model, changed in settings.for_models.items()
        for name, value in changed.items()
        if step is None or step in keys[name].counts_for
    }


def _user(settings: Settings) -> dict[str, str]:
    found = {}
    for name, value in settings.user.values.items():
        if is_secret("user", name):
            continue
        told = as_text(value)
        written = settings.as_written.get(f"[user] {name}")
        if written is not None and isinstance(value, str):
            import hashlib  # seldom needed

            # Free text from the environment may be anything, a secret too: only its hash counts.
            told = f"{written} (sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]})"
        found[f"[user] {name}"] = told
    return found


def _told(settings: Settings, section: str, key: Key, value: Any) -> str:
    text = settings.as_written.get(f"[{section}] {key.name}") or as_text(value)
    if key.name == "DATABASE_URL":
        return without_login(text)
    return hide_passwords(text)


def as_text(value: Any) -> str:
    """A value as a person would write it, always in the same way."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "; ".join(f"{old} = {new}" for old, new in sorted(value.items()))
    if isinstance(value, tuple):
        return ", ".join(as_text(one) for one in value)
    return str(value)
