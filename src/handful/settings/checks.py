"""Faults that lie between keys, and the defaults that come from other keys or from the place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handful.errors import Fault, SettingsError
from handful.layout import check_model_folders
from handful.settings.ini import FILE

Parsed = Mapping[str, Mapping[str, Any]]
_SQLITE = re.compile(r"^(sqlite(?:\+\w+)?:///)(?!/)([^?]+)(.*)$")
_LOCAL_MODEL = (".", "/", "~")


def cross_faults(
    parsed: Parsed,
    per_model: Mapping[str, Mapping[str, Any]],
    user: Mapping[str, Any],
    wheres: Mapping[str, str],
) -> list[Fault]:
    """What is wrong between keys that are each right by themselves."""

    def where(section: str, key: str) -> str:
        return wheres.get(f"{section}.{key}", f"{FILE} [{section}] {key}")

    production, prepare, train = parsed["production"], parsed["prepare"], parsed["train"]
    faults = []
    if bool(production.get("LABEL_QUERY")) == bool(production.get("LABEL_QUERY_FILE")):
        what = "one of LABEL_QUERY and LABEL_QUERY_FILE is wanted, not both or none"
        faults.append(Fault(where("production", "LABEL_QUERY"), what))
    pattern = production.get("KEY_PATTERN", "{artifact_id}/{file}")
    if any(pattern.count(part) != 1 for part in ("{artifact_id}", "{file}")):
        what = f"{pattern!r} must hold {{artifact_id}} and {{file}} once each"
        faults.append(Fault(where("production", "KEY_PATTERN"), what))
    for section, key in (
        ("production", "FILES_FROM_PROD"),
        ("reconcile", "FILES_ON_RESEARCH"),
        ("prepare", "MODEL_INPUT_FILES"),
    ):
        for name in parsed[section].get(key, ()):
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                faults.append(Fault(where(section, key), f"{name!r} leads out of the artifact"))
    on_research = parsed["reconcile"].get("FILES_ON_RESEARCH") or production.get("FILES_FROM_PROD")
    for name in prepare.get("MODEL_INPUT_FILES", ()):
        if on_research and name not in on_research:
            what = f"{name!r} is not among FILES_ON_RESEARCH"
            faults.append(Fault(where("prepare", "MODEL_INPUT_FILES"), what, "add it there"))
    for section, key in (("experiment", "NAME"), ("prepare", "ENCODED_DATA_DIR")):
        name = parsed[section].get(key, "x")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            what = f"{name!r} is no safe folder name"
            faults.append(Fault(where(section, key), what, "use letters, digits, '.', '_', '-'"))
    for model in per_model:
        if model not in train.get("MODEL_NAMES", (model,)):
            what = f"{model!r} is not among MODEL_NAMES"
            remedy = f"they are {', '.join(train['MODEL_NAMES'])}"
            faults.append(
                Fault(wheres.get(f"train:{model}", f"{FILE} [train:{model}]"), what, remedy)
            )
    for key in parsed["tune"].get("ranges", {}):
        if key.startswith("user.") and key.removeprefix("user.") not in user:
            faults.append(Fault(f"{FILE} [tune] {key}", "names no key of [user]", "set it there"))
    try:
        check_model_folders(tuple(train.get("MODEL_NAMES", ())))
    except SettingsError as error:
        faults += error.faults
    return faults


def with_defaults(parsed: Parsed, directory: Path) -> dict[str, dict[str, Any]]:
    """`parsed` with what comes from other keys; relative paths made absolute.

    Raises `SettingsError` if LABEL_QUERY_FILE cannot be read.
    """
    directory = directory.absolute()
    full = {name: dict(keys) for name, keys in parsed.items()}
    experiment, production = full["experiment"], full["production"]
    reconcile, prepare, train = full["reconcile"], full["prepare"], full["train"]
    experiment.setdefault("NAME", directory.name)
    experiment["STORE"] = absolute(experiment.get("STORE", "store"), directory)
    production["FILES_URL"] = absolute(production["FILES_URL"], directory)
    production["DATABASE_URL"] = _database(production["DATABASE_URL"], directory)
    if query_file := production.get("LABEL_QUERY_FILE"):
        production["LABEL_QUERY_FILE"] = absolute(query_file, directory)
        production["LABEL_QUERY"] = _query(Path(production["LABEL_QUERY_FILE"]))
    reconcile.setdefault("FILES_ON_RESEARCH", production["FILES_FROM_PROD"])
    if overrides := reconcile.get("LABEL_OVERRIDES"):
        reconcile["LABEL_OVERRIDES"] = absolute(overrides, directory)
    prepare.setdefault("MODEL_INPUT_FILES", reconcile["FILES_ON_RESEARCH"])
    train["MODEL_NAMES"] = tuple(
        absolute(name, directory) if name.startswith(_LOCAL_MODEL) else name
        for name in train["MODEL_NAMES"]
    )
    train.setdefault("SEEDS", (experiment.get("SEED", 0),))
    return full


def absolute(place: str, directory: Path) -> str:
    """A URL as it is; a path as an absolute one, seen from the experiment's directory."""
    if "://" in place:
        return place
    return str((directory / Path(place).expanduser()).resolve())


def _database(url: str, directory: Path) -> str:
    match = _SQLITE.match(url)
    if not match or match[2] == ":memory:":
        return url
    return f"{match[1]}{(directory / match[2]).resolve()}{match[3]}"


def _query(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        where = f"{FILE} [production] LABEL_QUERY_FILE"
        raise SettingsError([Fault(where, f"{path} cannot be read: {error}")]) from error
