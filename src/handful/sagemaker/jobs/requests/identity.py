"""Which work a job does: a hash of all that decides it, and of nothing else.

The bundle's own hash tells its bytes. The same work may come in other bytes: with another comment,
with a key by `--set` instead of in the file, with another instance type. A driver that was killed
and is started again so goes on with its job; it neither refuses it nor pays for it twice. What is
not known to be without effect counts.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping

from handful.backends.base import Job
from handful.layout import SETTINGS
from handful.settings.counted import as_text
from handful.settings.reading.ini import Entry, scan
from handful.settings.reading.unknown import section_key_spellings
from handful.settings.values.parse import Wrong

_ALWAYS = frozenset({"experiment", "user", "compute"})
_SECTIONS_OF_TASK: Mapping[str, frozenset[str]] = {
    "reconcile": _ALWAYS | {"production", "reconcile"},
    "prepare": _ALWAYS | {"production", "reconcile", "prepare", "train"},
    "tune": _ALWAYS | {"prepare", "train", "tune", "tracking"},
    "train": _ALWAYS | {"prepare", "train", "tracking"},
    "test": _ALWAYS | {"prepare", "train"},
}
"""A task → the sections that it reads. What earlier steps made comes with the job's arguments."""
_OF_ALL_RUNS = frozenset({"MODEL_NAMES", "SEEDS"})
"""Keys of [train] that decide which runs there are, not what one of them does."""
_FOR_RECONCILE = frozenset({"DATABASE_URL", "LABEL_QUERY", "LABEL_QUERY_FILE"})
"""Keys of [production] that no other task's job is given, or looks at."""
_REQUIREMENTS = "requirements.txt"
_COMMENT = re.compile(r"(?:^|\s+)#.*$")


def work_hash(settings_text: str, files: Mapping[str, bytes], job: Job) -> str:
    """`settings_text`, `files` and `job` are those that travel."""
    normal = {name: _normal(name, data) for name, data in files.items() if name != SETTINGS}
    what = {
        "settings": sorted(_entries(settings_text, job)),
        "files": {name: _hash_identity_bytes(data) for name, data in normal.items()},
        "job": job.content(),
    }
    return _hash_identity_bytes(json.dumps(what, sort_keys=True).encode())


def _entries(text: str, job: Job) -> Iterator[tuple[str, str, str]]:
    """(section, key, value) of all that counts and is not at its default, in one spelling."""
    for entry in scan(text).entries:
        keys = section_key_spellings(entry.section)
        key = keys.get(entry.key)
        name = key.name if key else entry.key
        if not _matters(entry.section, name, job):
            continue
        value = _value(entry)
        if key and not entry.section.startswith("train:") and value == as_text(_default(entry)):
            continue
        yield entry.section, name, value


def _matters(section: str, name: str, job: Job) -> bool:
    kind, _, model = section.partition(":")
    if kind not in _SECTIONS_OF_TASK.get(job.task, {kind}):
        return False
    if section == "train":
        return not (job.model and name in _OF_ALL_RUNS)
    if model:
        return job.model in {None, model}
    return not (section == "production" and job.task != "reconcile" and name in _FOR_RECONCILE)


def _value(entry: Entry) -> str:
    """In the one spelling of its value; as it is written where the environment has a say."""
    key = section_key_spellings(entry.section).get(entry.key)
    if key is None or "${" in entry.text:
        return entry.text
    try:
        return as_text(key.parser.parse(entry.text))
    except Wrong:
        return entry.text


def _default(entry: Entry) -> object:
    return section_key_spellings(entry.section)[entry.key].default_value()


def _normal(name: str, data: bytes) -> bytes:
    """Without what Python, or pip, does not see. Any other file may be read by a function."""
    try:
        if name.endswith(".py"):
            return ast.dump(ast.parse(data)).encode()
        if name == _REQUIREMENTS:
            lines = (_COMMENT.sub("", line).strip() for line in data.decode().splitlines())
            return "\n".join(line for line in lines if line).encode()
    except (SyntaxError, ValueError):
        pass
    return data


def _hash_identity_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
