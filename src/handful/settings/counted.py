"""Which values decide what a step makes, as text: for fingerprints. No secret is among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.layout import model_folder
from handful.settings.declare import Key, keys_of
from handful.settings.secrets import (
    as_counted,
    drop_login,
    format_secret_hash,
    hide_passwords,
    never_counts,
    without_login,
)
from handful.settings.sections.all import SECTIONS, Settings
from handful.settings.sections.models import TrainSection
from handful.settings.usage import ALL_OF_USER, Usage

HASHED_AT_DEFAULT: Mapping[str, frozenset[str]] = {
    section: frozenset(names.split())
    for section, names in {
        "experiment": "SEED",
        "production": "DATABASE_URL LABEL_QUERY FILES_URL KEY_PATTERN FILES_FROM_PROD "
        "S3_ENDPOINT_URL",
        "reconcile": "FILES_ON_RESEARCH ON_LABEL_CONFLICT ON_MISSING_FILES",
        "prepare": "MODEL_INPUT_FILES MAX_ARTIFACTS LABEL_ALIASES IGNORED_LABELS "
        "NUM_LABELS_THRESHOLD SPLIT SPLIT_FROM GROUP_BY NEAR_DUPLICATES MAX_INSTANCE_BYTES",
        "train": "MODEL_NAMES EPOCHS BATCH_SIZE LEARNING_RATE WARMUP WEIGHT_DECAY LABEL_SMOOTHING "
        "CLASS_WEIGHTS METRIC METRIC_GOAL EARLY_STOPPING_PATIENCE PRECISION COMPILE SEEDS",
        "tune": "TRIALS PARALLEL",
        "report": "SHOW_DOCUMENTS",
    }.items()
}
"""The keys of the first stores, which hold them whatever their value. Nothing is added here: any
other key is left out while it is at its default, so that a store made before it stays up to date.
"""
CAME_LATER = frozenset({("train", "CPU_KERNELS"), ("train", "CONTRASTIVE")})
"""Keys that came after sections began to count where functions hand them on whole: at their default
they are left out there, too. Every new key belongs here."""
USER_COUNTS = frozenset({"reconcile", "prepare", "tune", "train", "test"})
"""Any function of the user may read `[user]`; the report calls none."""
READ_BY_FUNCTIONS = " (which the functions read)"
"""After an entry that counts for a step for no other reason."""
_NOT_PER_RUN = frozenset({"MODEL_NAMES", "SEEDS"})


def list_counted_settings(
    settings: Settings,
    step: str | None = None,
    *,
    for_hash: bool = False,
    usage: Usage = ALL_OF_USER,
) -> Mapping[str, str]:
    """ "[train] EPOCHS" → "3.0": every value in effect, or those that the result of `step` needs.

    A key that no store held from the beginning is left out of a step's at its default. A secret is
    told by its hash; a place that was written as a relative path is told as it was written, so
    that an experiment may move with its directory. `for_hash`: told as in the first stores, where
    hashes were taken of it; secrets are in that, so it is for hashes alone. `usage`: what the
    functions read that the step runs; of `[user]` nothing else counts, and of other sections that
    as well.
    """
    found = {}
    for section, kind in SECTIONS.items():
        for key in keys_of(kind).values():
            if step is None or step in key.counts_for:
                value = getattr(getattr(settings, section), key.name)
                if step is not None and _goes_without_saying(section, key, value):
                    continue
                found[f"[{section}] {key.name}"] = _describe_counted_value(
                    settings, section, key, value, for_hash
                )
    if step in (None, "tune"):
        found |= {f"[tune] {one.key}": str(one) for one in settings.tune.ranges}
    if step in (None, "train"):
        found |= _list_per_model_values(settings, step)
    if step is None or step in USER_COUNTS:
        found |= _user(settings, usage, for_hash)
    return found | _read_beside(settings, step, usage, for_hash=for_hash)


def list_settings_read_beside(settings: Settings, usage: Usage) -> Mapping[str, str]:
    """What process_func depends on beside `[user]`: of reconcile's keys those that it names."""
    return _read_beside(settings, "reconcile", usage, own=True)


def list_counted_model_settings(
    settings: Settings, model: str, usage: Usage = ALL_OF_USER
) -> Mapping[str, str]:
    """What training one model once depends on, whatever other models and seeds there are.

    `usage`: as `list_counted_settings` has it.
    """
    section = settings.train_for(model)
    found = {
        f"[train] {key.name}": _format_counted_value(key, value)
        for key in keys_of(TrainSection).values()
        if "train" in key.counts_for and key.name not in _NOT_PER_RUN
        if not _goes_without_saying("train", key, value := getattr(section, key.name))
    }
    for name, key in keys_of(TrainSection).items():
        # What this one run does not go by, and a function of it reads by name.
        apart = name in _NOT_PER_RUN or getattr(section, name) != getattr(settings.train, name)
        if usage.names("train", name) and apart:
            value = getattr(settings.train, name)
            found[f"[train] {name}{READ_BY_FUNCTIONS}"] = _format_counted_value(key, value)
    return found | _user(settings, usage) | _read_beside(settings, "train", usage)


def default_of(entry: str) -> str | None:
    """What a fingerprint means that lacks `entry`: "[train] EPOCHS" → "3.0"; None if no default.

    None, too, for a key that has to be written, is not declared, or no longer counts.
    """
    section, _, name = entry.removeprefix("[").partition("] ")
    key = keys_of(SECTIONS[section]).get(name) if section in SECTIONS else None
    if key is None or key.required or not key.counts_for:
        return None
    return _format_counted_value(key, key.default_value())


def counts_no_more(entry: str) -> bool:
    """Was `entry` a key that is gone, or that decides nothing by now? A range of tune is none."""
    section, _, name = entry.removeprefix("[").partition("] ")
    if section not in SECTIONS or section == "tune":
        return False
    key = keys_of(SECTIONS[section]).get(name)
    return key is None or not key.counts_for


def _goes_without_saying(section: str, key: Key, value: Any) -> bool:
    """Is it at its default, and left out for it?"""
    hashed = key.name in HASHED_AT_DEFAULT.get(section, ())
    return not hashed and bool(value == key.default_value())


def _written_section(settings: Settings, model: str) -> str:
    section = f"[train:{model}]"
    return settings.as_written.get(section, section)


def _list_per_model_values(settings: Settings, step: str | None) -> dict[str, str]:
    keys = keys_of(TrainSection)
    return {
        f"{_written_section(settings, model)} {name}": _format_counted_value(keys[name], value)
        for model, changed in settings.for_models.items()
        for name, value in changed.items()
        if step is None or step in keys[name].counts_for
        if name in HASHED_AT_DEFAULT["train"] or value != getattr(settings.train, name)
    }


def _read_beside(
    settings: Settings,
    step: str | None,
    usage: Usage,
    *,
    for_hash: bool = False,
    own: bool = False,
) -> dict[str, str]:
    """Keys that count for other steps, or for none, and that the functions read all the same.

    Of a section that is handed on whole those that decide what some step makes. `own`: those of
    the step that they read by name, too.
    """
    found = {}
    for section, kind in SECTIONS.items() if step is not None else ():
        for key in keys_of(kind).values():
            named = usage.names(section, key.name)
            handed = bool(key.counts_for) and bool(usage.why(section))
            if not (named or handed) or (step in key.counts_for and not (own and named)):
                continue
            value = getattr(getattr(settings, section), key.name)
            came_later = (section, key.name) in CAME_LATER
            if came_later and not named and value == key.default_value():
                continue
            entry = f"[{section}] {key.name}{READ_BY_FUNCTIONS}"
            found[entry] = _describe_counted_value(settings, section, key, value, for_hash)
            for model, changed in settings.for_models.items() if section == "train" else ():
                if key.name in changed:
                    entry = f"[train:{model_folder(model)}] {key.name}{READ_BY_FUNCTIONS}"
                    found[entry] = _format_counted_value(key, changed[key.name])
    if usage.why("tune") and step not in (None, "tune"):
        found |= {f"[tune] {one.key}{READ_BY_FUNCTIONS}": str(one) for one in settings.tune.ranges}
    return found


def _user(settings: Settings, usage: Usage, for_hash: bool = False) -> dict[str, str]:
    found = {}
    for name, value in settings.user.values.items():
        if never_counts(name) or not usage.reads("user", name):
            continue
        entry, text = f"[user] {name}", as_text(value)
        told = settings.concealed.get(entry)
        if for_hash:
            told = settings.as_written.get(entry) if isinstance(value, str) else None
        found[entry] = text if told is None else format_secret_hash(told, text)
    return found


def _describe_counted_value(
    settings: Settings, section: str, key: Key, value: Any, for_hash: bool = False
) -> str:
    """A value, without the login, the options and what the environment gave to a database's URL.

    What counts is what has counted in the first stores, be it told in the clear or by its hash.
    """
    entry = f"[{section}] {key.name}"
    text = settings.as_written.get(entry) or _format_counted_value(key, value)
    if key.name == "DATABASE_URL":
        counts = without_login(text)
        told = drop_login(settings.concealed.get(entry, text))
    else:
        counts = as_counted(text)
        told = settings.concealed.get(entry, hide_passwords(text))
    return counts if for_hash or told == counts else format_secret_hash(told, counts)


def _format_counted_value(key: Key, value: Any) -> str:
    return key.parser.nothing if value is None else as_text(value)


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
