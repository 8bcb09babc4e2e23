"""Defaults that come from other keys or from the place, and faults that lie between keys.

Each function looks only at what could be read: a key with a fault of its own is passed over.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from pathlib import Path

from handful.errors import Fault, SettingsError
from handful.files.paths import from_home, is_file, is_glob, path_fault
from handful.layout import check_model_folders
from handful.records.metric_names import own_goal
from handful.settings.declare import keys_of
from handful.settings.reading.ini import FILE
from handful.settings.reading.state import OVERRIDES, Reading, shown
from handful.settings.reading.unknown import nearest, section_key_spellings
from handful.settings.secrets import variables_in
from handful.settings.sections.all import SECTIONS
from handful.settings.values.names import NO_PLACE, covers, folder_name
from handful.settings.values.parse import Wrong
from handful.system.certificates import BadCertificates, read_certificates

_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/)([^?]+)(.*)", re.DOTALL)
_MODELS = ("train", "MODEL_NAMES")
_PLACES = (
    *(("experiment", "STORE"), ("experiment", "CA_BUNDLE")),
    *(("production", key) for key in ("DATABASE_URL", "FILES_URL", "LABEL_QUERY_FILE")),
    *(("production", "CA_BUNDLE"), ("reconcile", "LABEL_OVERRIDES"), _MODELS),
)
"""The keys that may hold a path of this machine."""
_FROM_HERE = "a relative path begins at the experiment's directory"


def check(reading: Reading, directory: Path) -> None:
    """Fill in the defaults that depend on others, make paths absolute, and collect the faults."""
    _check_required_keys(reading)
    _paths(reading, directory)
    _experiment(reading, directory)
    _production(reading, directory)
    _check_label_query(reading, directory)
    _file_keys(reading)
    _check_documents_in_rows(reading)
    _certificates(reading, directory)
    _check_file_keys(reading)
    _check_label_keys(reading, directory)
    _models(reading, directory)
    _metric_goal(reading)
    _tuning(reading)
    _public_ranges(reading)
    _check_sagemaker_keys(reading)


def _check_required_keys(reading: Reading) -> None:
    for section, kind in SECTIONS.items():
        for key in keys_of(kind).values():
            if not key.required:
                continue
            if (section, key.name) not in reading.places:
                reading.fault_of(section, key.name, "is required", f"add it: {key.meaning}")
            elif reading.of(section).get(key.name) == ():
                reading.fault_of(section, key.name, "the list is empty", "name at least one")


def _experiment(reading: Reading, directory: Path) -> None:
    values, real = reading.of("experiment"), directory.resolve()
    if not reading.has_text("experiment", "NAME"):
        values["NAME"] = real.name
        try:
            folder_name(real.name)
        except Wrong as wrong:
            what = f"the directory's name, {wrong.what.replace('{}', repr(real.name), 1)}"
            reading.fault_of("experiment", "NAME", what, "rename the directory, or set NAME")
    if not reading.has_text("experiment", "STORE"):
        values["STORE"] = str(real.parent / "store")
    _resolve(reading, directory, "experiment", "STORE")


def _paths(reading: Reading, directory: Path) -> None:
    """A fault for every path at which no file can be."""
    for section, key in _PLACES:
        value = reading.of(section).get(key) or ()
        for place in value if isinstance(value, tuple) else (str(value),):
            match = _SQLITE.fullmatch(place)
            path = match[2] if match else place
            if "://" in path or (match and path.startswith("file:")):
                continue
            if fault := path_fault(path, directory):
                piece = f"{shown(reading.places[section, key], place)} "
                what = f"{piece if isinstance(value, tuple) else ''}{fault.what}"
                reading.fault_of(section, key, what, fault.remedy)
                if not isinstance(value, tuple):
                    del reading.of(section)[key]  # nobody looks there


def _resolve(reading: Reading, directory: Path, section: str, key: str) -> None:
    """Make a place absolute, if it was read, and remember how it was written."""
    values = reading.of(section)
    if key in values:
        text = values[key]
        values[key] = _absolute(text, directory)
        if values[key] != text:
            reading.as_written[f"[{section}] {key}"] = text


def _absolute(place: str, directory: Path) -> str:
    """A URL as it is; a path as an absolute one, seen from the experiment's directory."""
    if "://" in place:
        return place
    # Not `resolve()`: a link is somebody's way to swap what stands behind a name.
    return os.path.normpath(directory / from_home(place))


def _metric_goal(reading: Reading) -> None:
    """The metric's own direction where none is written; a fault where another one is."""
    values = reading.of("train")
    own = own_goal(values.get("METRIC", ""))
    if not reading.has_text("train", "METRIC_GOAL"):
        values["METRIC_GOAL"] = own or "max"
    elif own and values.get("METRIC_GOAL", own) != own:
        what = f"{values['METRIC']} is better when it is {'lower' if own == 'min' else 'higher'}"
        reading.fault_of("train", "METRIC_GOAL", what, f"leave it out, or write {own}")


def _production(reading: Reading, directory: Path) -> None:
    values = reading.of("production")
    if str(values.get("FILES_URL", "")).lower() == NO_PLACE:
        values["FILES_URL"] = NO_PLACE
    else:
        _resolve(reading, directory, "production", "FILES_URL")
    match = _SQLITE.fullmatch(values.get("DATABASE_URL", ""))
    if match and match[2] != ":memory:" and not match[2].startswith("file:"):
        reading.as_written["[production] DATABASE_URL"] = values["DATABASE_URL"]
        values["DATABASE_URL"] = f"{match[1]}{_absolute(match[2], directory)}{match[3]}"


def _certificates(reading: Reading, directory: Path) -> None:
    for section in ("experiment", "production"):
        values = reading.of(section)
        if values.get("CA_BUNDLE") is None:
            continue
        values["CA_BUNDLE"] = path = Path(_absolute(values["CA_BUNDLE"], directory))
        try:
            read_certificates(path)
        except BadCertificates as bad:
            reading.fault_of(section, "CA_BUNDLE", bad.what, bad.remedy)


def _check_label_query(reading: Reading, directory: Path) -> None:
    """Exactly one of LABEL_QUERY and LABEL_QUERY_FILE; the text of the latter as the former."""
    has_query = reading.has_text("production", "LABEL_QUERY")
    has_file = reading.has_text("production", "LABEL_QUERY_FILE")
    if has_query and has_file:
        what = "LABEL_QUERY is set too, and only one of them can be meant"
        reading.fault_of("production", "LABEL_QUERY_FILE", what, "remove one of the two")
    elif not has_query and not has_file:
        remedy = "add LABEL_QUERY or LABEL_QUERY_FILE: SQL that gives artifact_id and label"
        reading.fault_of("production", "LABEL_QUERY", "there is no label query", remedy)
    values = reading.of("production")
    if has_query or "LABEL_QUERY_FILE" not in values:
        return
    path = Path(_absolute(str(values["LABEL_QUERY_FILE"]), directory))
    values["LABEL_QUERY_FILE"], where = path, ("production", "LABEL_QUERY_FILE")
    try:
        values["LABEL_QUERY"] = path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        reading.fault_of(*where, "the file is not UTF-8 text", "save it again as UTF-8")
    except OSError as error:
        reading.fault_of(*where, f"the file cannot be read: {error.strerror}", _FROM_HERE)
    else:
        if not values["LABEL_QUERY"]:
            reading.fault_of(*where, "the file is empty", "write the label query into it")


def _file_keys(reading: Reading) -> None:
    """What FILE_KEY_COLUMN and FILE_BUCKETS ask of the other keys."""
    values = reading.of("production")
    # A faulty name of a column is one all the same.
    by_column = values.get("FILE_KEY_COLUMN", reading.has_text("production", "FILE_KEY_COLUMN"))
    if reading.has_text("production", "FILE_BUCKETS"):
        if not by_column:
            what = "only keys that FILE_KEY_COLUMN gives can lead to other buckets"
            reading.fault_of("production", "FILE_BUCKETS", what, "remove it, or name the column")
        elif not str(values.get("FILES_URL", "s3://")).lower().startswith(("s3://", NO_PLACE)):
            what = "FILES_URL is a directory, and from there no key leads to a bucket"
            reading.fault_of("production", "FILE_BUCKETS", what, "write s3://bucket as FILES_URL")
    if not by_column:
        return
    if reading.has_text("production", "KEY_PATTERN"):
        what = "FILE_KEY_COLUMN is set too: nothing is listed then, and no pattern is read"
        reading.fault_of("production", "KEY_PATTERN", what, "remove one of the two")
    for name in values.get("FILES_FROM_PROD") or ():
        if "/" in name:
            name = shown(reading.places["production", "FILES_FROM_PROD"], name)
            what = f"{name} holds a /, but with FILE_KEY_COLUMN a file's name is what follows it"
            remedy = "write the last segment of the key, or a glob that fits it"
            reading.fault_of("production", "FILES_FROM_PROD", what, remedy)


def _check_documents_in_rows(reading: Reading) -> None:
    """What FILES_URL = none asks of the other keys: no file has a key there."""
    values = reading.of("production")
    if values.get("FILES_URL") != NO_PLACE:
        return
    for key in ("KEY_PATTERN", "FILE_KEY_COLUMN"):
        if reading.has_text("production", key):
            what = "FILES_URL = none: the documents are in the label rows, and no file has a key"
            reading.fault_of("production", key, what, "remove it, or name the place of the files")
    for name in values.get("FILES_FROM_PROD") or ():
        column, _, extension = name.rpartition(".")
        if not column or not extension or "/" in name or is_glob(name):
            name = shown(reading.places["production", "FILES_FROM_PROD"], name)
            what = f"{name} names no column: with FILES_URL = none a file is <column>.<extension>"
            remedy = "write text.txt for the column `text`, photo.jpg for the column `photo`"
            reading.fault_of("production", "FILES_FROM_PROD", what, remedy)


def _check_file_keys(reading: Reading) -> None:
    reconcile, prepare = reading.of("reconcile"), reading.of("prepare")
    if not reading.has_text("reconcile", "FILES_ON_RESEARCH"):
        reconcile["FILES_ON_RESEARCH"] = reading.of("production").get("FILES_FROM_PROD")
    kept = reconcile.get("FILES_ON_RESEARCH")
    if not reading.has_text("prepare", "MODEL_INPUT_FILES"):
        prepare["MODEL_INPUT_FILES"] = kept
    for key in ("MODEL_INPUT_FILES", "NEAR_DUPLICATE_FILES"):
        for name in prepare.get(key) or ():
            if kept and not any(covers(one, name) for one in kept):
                _not_kept(reading, key, name, kept)


def _not_kept(reading: Reading, key: str, name: str, kept: Sequence[str]) -> None:
    """A file that `[prepare] key` names, and that no artifact has in the store."""
    entry = reading.places["prepare", key]
    hidden = _has_environment_value(
        reading, ("production", "FILES_FROM_PROD"), ("reconcile", "FILES_ON_RESEARCH")
    )
    near = "" if hidden else nearest(name, kept)
    what = f"{shown(entry, name)} is not among [reconcile] FILES_ON_RESEARCH"
    reading.fault(entry, what, near or "add it there, or to FILES_FROM_PROD")


def _has_environment_value(reading: Reading, *keys: tuple[str, str]) -> bool:
    """May one of the keys hold the value of a variable, which is not to be shown?"""
    return any(key in reading.places and "${" in reading.places[key].text for key in keys)


def _check_label_keys(reading: Reading, directory: Path) -> None:
    where = ("prepare", "LABEL_ALIASES")
    aliases = reading.of("prepare").get("LABEL_ALIASES") or {}
    for old, new in aliases.items():
        if new in aliases and new != old:
            what = (
                f"{shown(reading.places[where], f'{old} = {new}')} ends in a label that is renamed"
            )
            reading.fault_of(*where, what, "write the last name at once")
    overrides = reading.of("reconcile").get("LABEL_OVERRIDES")
    if overrides:
        path = Path(_absolute(overrides, directory))
        reading.of("reconcile")["LABEL_OVERRIDES"] = path
        if not is_file(path):
            reading.fault_of("reconcile", "LABEL_OVERRIDES", "there is no such file", _FROM_HERE)


def _models(reading: Reading, directory: Path) -> None:
    train = reading.of("train")
    if not reading.has_text("train", "SEEDS"):
        train["SEEDS"] = (reading.of("experiment").get("SEED", 0),)
    written: tuple[str, ...] = train.get("MODEL_NAMES", ())
    full = tuple(full_model(name, directory) for name in written)
    if full != written:
        reading.as_written["[train] MODEL_NAMES"] = ", ".join(written)
    if written:
        train["MODEL_NAMES"] = full
    try:
        check_model_folders(full)
    except SettingsError as error:
        for fault in error.faults:
            hidden = _has_environment_value(reading, _MODELS)
            what = "two share one folder, or one has no name" if hidden else fault.what
            reading.fault_of(*_MODELS, what, fault.remedy)
    _per_model(reading, dict(zip(written, full, strict=True)), directory)


def _tuning(reading: Reading) -> None:
    own = section_key_spellings("tune")
    ranged = any(section == "tune" and key not in own for section, key in reading.places)
    asked = [key for key in ("TRIALS", "TUNE_TIME") if reading.of("tune").get(key)]
    if asked and not ranged:
        what = "there is no range to choose from"
        remedy = "add one, such as LEARNING_RATE = log 1e-5 1e-3"
        reading.fault_of("tune", asked[0], what, remedy)


def _public_ranges(reading: Reading) -> None:
    """What a trial of a `[user]` key has chosen is told everywhere, so it may be no secret."""
    public = reading.of("experiment").get("PUBLIC_VARIABLES", ())
    for (section, key), entry in reading.places.items():
        names = [name for name in variables_in(entry.text) if name not in public]
        is_choice = entry.text.strip().lower().startswith("choice")
        if section == "tune" and key.startswith("user.") and is_choice and names:
            what = f"takes {names[0]} from the environment, and what a trial chooses is shown"
            remedy = f"name {names[0]} in [experiment] PUBLIC_VARIABLES, if it is no secret"
            reading.fault(entry, what, remedy)


_FOR_JOBS = {
    "ROLE_ARN": "name the role of the jobs",
    "IMAGE_URI": "name the container image",
    "PREPARE_INSTANCE_TYPE": "name a type such as ml.m5.xlarge",
    "TRAIN_INSTANCE_TYPE": "name a type such as ml.g5.xlarge, or several",
    "TEST_INSTANCE_TYPE": "name a type such as ml.g5.xlarge",
}


def _check_sagemaker_keys(reading: Reading) -> None:
    """What BACKEND = sagemaker asks of the other keys."""
    if reading.of("compute").get("BACKEND") != "sagemaker":
        if reading.of("sagemaker").get("RECONCILE_AS_JOB"):
            what = "there are no jobs without BACKEND = sagemaker"
            reading.fault_of("sagemaker", "RECONCILE_AS_JOB", what, "remove the line")
        return
    if reading.of("tune").get("TUNE_TIME"):
        what = "a search that runs as one job on SageMaker has no such limit"
        reading.fault_of("tune", "TUNE_TIME", what, "name TRIALS instead")
    store = reading.of("experiment").get("STORE", "s3://")
    if not store.startswith("s3://"):
        what = "is no place that SageMaker's machines can reach"
        reading.fault_of("experiment", "STORE", what, "write s3://bucket/prefix")
    if reading.of("sagemaker").get("RECONCILE_AS_JOB") and reading.of("production").get(
        "CA_BUNDLE"
    ):
        what = "is a file of this machine, and does not travel to a job that reconciles"
        remedy = (
            "put it into the image, and let AWS_CA_BUNDLE name it there (ENV in the Dockerfile)"
        )
        reading.fault_of("production", "CA_BUNDLE", what, remedy)
    for key, remedy in _FOR_JOBS.items():
        if not reading.has_text("sagemaker", key):
            reading.fault_of("sagemaker", key, "is required by BACKEND = sagemaker", remedy)


def full_model(name: str, directory: Path) -> str:
    """A model's name; a local directory's as an absolute path."""
    return _absolute(name, directory) if name.startswith(("/", ".", "~")) else name


def _per_model(reading: Reading, models: dict[str, str], directory: Path) -> None:
    """Every `[train:<model>]` under the model's full name; a fault for an unknown one."""
    places = {name: e for (name, _), e in reading.places.items() if name.startswith("train:")}
    headers = {name: line for name, line in reading.sections.items() if name.startswith("train:")}
    for section in {**headers, **places}:
        model = section.removeprefix("train:")
        full = full_model(model, directory) if model else ""
        if models and full and full not in models.values():
            line = headers.get(section, OVERRIDES)
            where = f"{FILE}:{line} [{section}]" if section in headers else places[section].where
            near = "" if _has_environment_value(reading, _MODELS) else nearest(model, models, 0.3)
            remedy = near or "it has to be one of [train] MODEL_NAMES"
            fault = Fault(where, f"{model!r} is not among MODEL_NAMES", remedy)
            reading.faults.append((line, fault))
        elif full != model and section in reading.values:
            reading.of(f"train:{full}").update(reading.values.pop(section))
            reading.as_written[f"[train:{full}]"] = f"[{section}]"
