"""Defaults that come from other keys or from the place, and faults that lie between keys.

Each function looks only at what could be read: a key with a fault of its own is passed over.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.errors import Fault, SettingsError
from handful.layout import check_model_folders
from handful.settings.declare import keys_of
from handful.settings.ini import FILE
from handful.settings.names import covers, folder_name
from handful.settings.sections import SECTIONS
from handful.settings.values import Wrong

if TYPE_CHECKING:
    from handful.settings.read import Reading

_END = 999_999_999  # after every line of the file, before the overrides
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/)([^?]+)(.*)", re.DOTALL)


def check(reading: Reading, directory: Path) -> None:
    """Fill in the defaults that depend on others, make paths absolute, and collect the faults."""
    _required(reading)
    _experiment(reading, directory)
    _production(reading, directory)
    _files(reading, directory)
    _aliases(reading)
    _models(reading, directory)


def _of(reading: Reading, section: str) -> dict[str, Any]:
    return reading.values.setdefault(section, {})


def _fault(reading: Reading, section: str, key: str, what: str, remedy: str = "") -> None:
    """A fault of a key: at its line if it is set, else at its section."""
    entry = reading.places.get((section, key))
    if entry:
        reading.fault(entry, what, remedy)
    else:
        reading.faults.append((_END, Fault(f"{FILE} [{section}] {key}", what, remedy)))


def _required(reading: Reading) -> None:
    for section, kind in SECTIONS.items():
        for key in keys_of(kind).values():
            place = reading.places.get((section, key.name))
            if key.required and place is None:
                _fault(reading, section, key.name, "is required", f"add it: {key.meaning}")
            elif key.required and place and _of(reading, section).get(key.name) == ():
                _fault(reading, section, key.name, "the list is empty", "name at least one")


def _experiment(reading: Reading, directory: Path) -> None:
    values = _of(reading, "experiment")
    if ("experiment", "NAME") not in reading.places or not reading.places[
        "experiment", "NAME"
    ].text:
        name = directory.resolve().name
        try:
            folder_name(name)
        except Wrong as wrong:
            what = f"the directory's name, {wrong.what.replace('{}', repr(name))}"
            _fault(reading, "experiment", "NAME", what, "rename the directory, or set NAME")
        values["NAME"] = name
    if "STORE" in values:
        _resolve(reading, directory, "experiment", "STORE")
    elif not _set(reading, "experiment", "STORE"):
        values["STORE"] = str(directory.resolve().parent / "store")


def _set(reading: Reading, section: str, key: str) -> bool:
    """Was the key given a value, if a faulty one?"""
    entry = reading.places.get((section, key))
    return bool(entry and entry.text)


def _resolve(reading: Reading, directory: Path, section: str, key: str) -> None:
    values = _of(reading, section)
    text = values[key]
    values[key] = _absolute(text, directory)
    if values[key] != text:
        reading.as_written[f"[{section}] {key}"] = text


def _absolute(place: str, directory: Path) -> str:
    """A URL as it is; a path as an absolute one, seen from the experiment's directory."""
    if "://" in place:
        return place
    # Not `resolve()`: a link is somebody's way to swap what stands behind a name.
    return _tidy(directory / Path(place).expanduser())


def _tidy(path: Path) -> str:
    import os.path

    return os.path.normpath(path)


def _production(reading: Reading, directory: Path) -> None:
    values = _of(reading, "production")
    if "FILES_URL" in values:
        _resolve(reading, directory, "production", "FILES_URL")
    match = _SQLITE.fullmatch(values.get("DATABASE_URL", ""))
    if match and match[2] != ":memory:" and not match[2].startswith("file:"):
        reading.as_written["[production] DATABASE_URL"] = values["DATABASE_URL"]
        values["DATABASE_URL"] = f"{match[1]}{_tidy(directory / match[2])}{match[3]}"
    has_query = _set(reading, "production", "LABEL_QUERY")
    has_file = _set(reading, "production", "LABEL_QUERY_FILE")
    if has_query and has_file:
        what = "LABEL_QUERY is set too, and only one of them can be meant"
        _fault(reading, "production", "LABEL_QUERY_FILE", what, "remove one of the two")
    elif not has_query and not has_file:
        remedy = "add LABEL_QUERY or LABEL_QUERY_FILE: SQL that gives artifact_id and label"
        _fault(reading, "production", "LABEL_QUERY", "there is no label query", remedy)
    elif "LABEL_QUERY_FILE" in values:
        _query_file(reading, directory)


def _query_file(reading: Reading, directory: Path) -> None:
    values = _of(reading, "production")
    path = Path(_absolute(values["LABEL_QUERY_FILE"], directory))
    values["LABEL_QUERY_FILE"] = path
    where = ("production", "LABEL_QUERY_FILE")
    try:
        query = path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        _fault(reading, *where, "the file is not UTF-8 text", "save it again as UTF-8")
        return
    except OSError as error:
        _fault(reading, *where, f"the file cannot be read: {error.strerror}", _FROM_HERE)
        return
    if not query:
        _fault(reading, *where, "the file is empty", "write the label query into it")
    values["LABEL_QUERY"] = query


_FROM_HERE = "a relative path begins at the experiment's directory"


def _files(reading: Reading, directory: Path) -> None:
    reconcile, prepare = _of(reading, "reconcile"), _of(reading, "prepare")
    if not reconcile.get("FILES_ON_RESEARCH") and not _set(
        reading, "reconcile", "FILES_ON_RESEARCH"
    ):
        reconcile["FILES_ON_RESEARCH"] = _of(reading, "production").get("FILES_FROM_PROD")
    kept = reconcile.get("FILES_ON_RESEARCH")
    if not prepare.get("MODEL_INPUT_FILES") and not _set(reading, "prepare", "MODEL_INPUT_FILES"):
        prepare["MODEL_INPUT_FILES"] = kept
    for name in prepare.get("MODEL_INPUT_FILES") or ():
        if kept and not any(covers(one, name) for one in kept):
            near = difflib.get_close_matches(name, kept, n=1)
            remedy = (
                f"did you mean {near[0]}?" if near else "add it to [reconcile] FILES_ON_RESEARCH"
            )
            what = f"{_name(reading, name)} is not among FILES_ON_RESEARCH"
            _fault(reading, "prepare", "MODEL_INPUT_FILES", what, remedy)
    if reconcile.get("LABEL_OVERRIDES"):
        path = Path(_absolute(reconcile["LABEL_OVERRIDES"], directory))
        reconcile["LABEL_OVERRIDES"] = path
        if not path.is_file():
            _fault(reading, "reconcile", "LABEL_OVERRIDES", "there is no such file", _FROM_HERE)


def _name(reading: Reading, name: str) -> str:
    """A file's name, unless it came from the environment."""
    entry = reading.places["prepare", "MODEL_INPUT_FILES"]
    return repr(entry.text if "${" in entry.text else name)


def _aliases(reading: Reading) -> None:
    aliases = _of(reading, "prepare").get("LABEL_ALIASES") or {}
    for old, new in aliases.items():
        if new in aliases and new != old:
            what = f"{old!r} becomes {new!r}, which is renamed itself"
            _fault(reading, "prepare", "LABEL_ALIASES", what, "write the last name at once")


def _models(reading: Reading, directory: Path) -> None:
    train = _of(reading, "train")
    if "SEEDS" not in train and not _set(reading, "train", "SEEDS"):
        train["SEEDS"] = (_of(reading, "experiment").get("SEED", 0),)
    written: tuple[str, ...] = train.get("MODEL_NAMES", ())
    full = tuple(
        _absolute(name, directory) if name.startswith(("/", ".", "~")) else name for name in written
    )
    if full != written:
        reading.as_written["[train] MODEL_NAMES"] = ", ".join(written)
    if "MODEL_NAMES" in train:
        train["MODEL_NAMES"] = full
    try:
        check_model_folders(full)
    except SettingsError as error:
        for fault in error.faults:
            _fault(reading, "train", "MODEL_NAMES", fault.what, fault.remedy)
    _per_model(reading, dict(zip(written, full, strict=True)), directory)


def _per_model(reading: Reading, models: dict[str, str], directory: Path) -> None:
    """Every `[train:<model>]` under the model's full name; a fault for an unknown one."""
    sections = {name for name in reading.values if name.startswith("train:")}
    sections |= {name for name, _ in reading.places if name.startswith("train:")}
    for section in sorted(sections):
        model = section.removeprefix("train:")
        local = model.startswith(("/", ".", "~"))
        full = models.get(model, _absolute(model, directory) if local else model)
        if models and full not in models.values():
            near = difflib.get_close_matches(model, list(models), n=1, cutoff=0.3)
            remedy = f"did you mean {near[0]}?" if near else f"they are {', '.join(models)}"
            entry = next(e for (name, _), e in reading.places.items() if name == section)
            reading.fault(entry, f"{model!r} is not among MODEL_NAMES", remedy)
        elif section in reading.values and full != model:
            reading.values[f"train:{full}"] = reading.values.pop(section)
