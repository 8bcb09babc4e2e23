"""settings.ini and `--set` into frozen sections; all faults together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from handful.errors import Fault, SettingsError
from handful.settings import values
from handful.settings.checks import cross_faults, with_defaults
from handful.settings.ini import FILE, Item, Sections, expanded, read_ini
from handful.settings.keys import (
    SECTIONS,
    ComputeSection,
    ExperimentSection,
    PrepareSection,
    ProductionSection,
    ReconcileSection,
    ReportSection,
    SagemakerSection,
    TrackingSection,
    TrainSection,
    TuneSection,
    UserSection,
    keys_of,
)

_ALSO_SPELLED = {("sagemaker", "DOCKER_IMAGE_PATH"): "IMAGE_URI"}
_NOT_PER_MODEL = {"MODEL_NAMES", "SEEDS"}
_OVERRIDE = re.compile(r"^(?P<section>\w+(?::.+)?)\.(?P<key>[^.=]+)=(?P<value>.*)$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All sections, checked. Keys are attributes in capitals: `settings.train.EPOCHS`."""

    experiment: ExperimentSection
    production: ProductionSection
    reconcile: ReconcileSection
    prepare: PrepareSection
    train: TrainSection
    tune: TuneSection
    user: UserSection
    tracking: TrackingSection
    compute: ComputeSection
    report: ReportSection
    sagemaker: SagemakerSection
    per_model: Mapping[str, TrainSection]
    """Of the models that have a `[train:<model>]`."""
    user_ranges: Mapping[str, Any]
    """Ranges in `[tune]` for keys of `[user]`."""

    def train_for(self, model_name: str) -> TrainSection:
        """`[train]` with the overrides of `[train:<model_name>]`."""
        return self.per_model.get(model_name, self.train)


def read_settings(directory: Path, overrides: tuple[str, ...] = ()) -> Settings:
    """The settings of the experiment in `directory`, with `--set` applied.

    `overrides` are texts `section.KEY=value`. Raises `SettingsError` with all faults together.
    """
    sections, faults = read_ini(directory)
    faults += _override(sections, overrides)
    parsed: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    per_model: dict[str, dict[str, Any]] = {}
    user: dict[str, Any] = {}
    wheres: dict[str, str] = {}
    for name, items in sections.items():
        base, _, model = name.partition(":")
        if name == "user":
            user, found = _user(items)
        elif base == "train" and model:
            per_model[model], found = _section("train", items, per_model=True)
            wheres[f"train:{model}"] = next((i.where for i in items.values()), f"{FILE} [{name}]")
        elif name in SECTIONS:
            parsed[name], found = _section(name, items)
            wheres |= {f"{name}.{key}": item.where for key, item in items.items()}
        else:
            found = [_unknown_section(name, items)]
        faults += found
    faults += _missing(parsed, sections)
    faults += cross_faults(parsed, per_model, user, wheres)
    if faults:
        raise SettingsError(faults)
    return _settings(with_defaults(parsed, directory), per_model, user)


def _settings(
    parsed: Mapping[str, Mapping[str, Any]],
    per_model: Mapping[str, Mapping[str, Any]],
    user: Mapping[str, Any],
) -> Settings:
    built = {name: kind(**parsed[name]) for name, kind in SECTIONS.items()}
    models = {
        model: TrainSection(**{**parsed["train"], **changed})
        for model, changed in per_model.items()
    }
    ranges = parsed["tune"].get("ranges", {})
    return Settings(
        **built,
        user=UserSection(user),
        per_model=models,
        user_ranges={key: found for key, found in ranges.items() if key.startswith("user.")},
    )


def _override(sections: Sections, overrides: tuple[str, ...]) -> list[Fault]:
    faults = []
    for text in overrides:
        match = _OVERRIDE.match(text)
        if not match:
            what = "is not of the form section.KEY=value"
            faults.append(Fault(f"--set {text.partition('=')[0]}", what))
            continue
        section, key = match["section"], match["key"].strip()
        item = Item(match["value"].strip(), f"--set {section}.{key}")
        sections.setdefault(section, {})[key] = item
    return faults


def _section(
    name: str, items: Mapping[str, Item], *, per_model: bool = False
) -> tuple[dict[str, Any], list[Fault]]:
    keys, parsed, faults = keys_of(name), dict[str, Any](), []
    defaults = {f.name: f.default for f in fields(SECTIONS[name])}
    for written, item in items.items():
        key = _ALSO_SPELLED.get((name, written), written)
        if key not in keys:
            if name == "tune":
                faults += _range(parsed, key, item)
            else:
                faults.append(_unknown_key(name, key, item))
            continue
        if per_model and key in _NOT_PER_MODEL:
            faults.append(Fault(item.where, "is the same for all models", "move it to [train]"))
            continue
        try:
            value = keys[key].parse(expanded(item.raw))
        except ValueError as error:
            faults.append(_value_fault(item, error))
            continue
        ordinary = value in (defaults[key], {}, ()) or (key == "TRAIN_PROCESSES" and value == 1)
        if not keys[key].built and not ordinary:
            faults.append(Fault(item.where, "is known, but not built yet", "leave it out for now"))
        parsed[key] = value
    return parsed, faults


def _value_fault(item: Item, error: ValueError) -> Fault:
    """The fault of a value; a variable's content is never shown."""
    what = str(error)
    remedy = ""
    if "${" in item.raw and "environment variable" not in what:
        what = f"the value of {item.raw} is not of the kind wanted"
    elif re.search(r"\s[#;]", item.raw):
        remedy = "a comment needs a line of its own"
    return Fault(item.where, what, remedy)


def _range(parsed: dict[str, Any], key: str, item: Item) -> list[Fault]:
    tunable = [name for name in keys_of("train") if name not in _NOT_PER_MODEL]
    if key not in tunable and not key.startswith("user."):
        near = _nearest(key, [*tunable, *keys_of("tune")])
        return [Fault(item.where, "is no key of [train], nor user.KEY", near)]
    try:
        parsed.setdefault("ranges", {})[key] = values.tuning_range(expanded(item.raw))
    except ValueError as error:
        return [_value_fault(item, error)]
    return [Fault(item.where, "tuning is known, but not built yet", "leave [tune] out for now")]


def _user(items: Mapping[str, Item]) -> tuple[dict[str, Any], list[Fault]]:
    found: dict[str, Any] = {}
    faults = []
    for key, item in items.items():
        if not key.isidentifier() or key.startswith("_") or key == "values":
            faults.append(Fault(item.where, "cannot be an attribute's name", "use A-Z, 0-9, _"))
            continue
        try:
            found[key] = values.free(expanded(item.raw))
        except ValueError as error:
            faults.append(_value_fault(item, error))
    return found, faults


def _missing(parsed: Mapping[str, Mapping[str, Any]], sections: Sections) -> list[Fault]:
    faults = []
    for name, kind in SECTIONS.items():
        for f in fields(kind):
            required = f.default is MISSING and f.default_factory is MISSING
            if required and f.name not in parsed[name] and f.name not in sections.get(name, {}):
                key = keys_of(name)[f.name]
                faults.append(Fault(f"{FILE} [{name}] {f.name}", "is missing", key.meaning))
    return faults


def _unknown_section(name: str, items: Mapping[str, Item]) -> Fault:
    where = next(iter(items.values())).where if items else f"{FILE} [{name}]"
    return Fault(where, f"there is no section [{name}]", _nearest(name, [*SECTIONS, "user"]))


def _unknown_key(section: str, key: str, item: Item) -> Fault:
    if key == "S3_PARENT_DIR":
        remedy = "it is now two keys: [experiment] STORE, and NAME"
        return Fault(item.where, "is the original's word", remedy)
    elsewhere = [name for name in SECTIONS if key in keys_of(name)]
    if elsewhere:
        return Fault(item.where, f"is no key of [{section}]", f"it belongs to [{elsewhere[0]}]")
    return Fault(item.where, "is no known key", _nearest(key, list(keys_of(section))))


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word.upper(), [k.upper() for k in known], 1, 0.6)
    if not near:
        return f"known are {', '.join(known)}"
    return f"did you mean {next(k for k in known if k.upper() == near[0])}?"
