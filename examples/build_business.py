"""Build the demo's pretend business: a label database and a file store, out of real licences.

    python examples/build_business.py DEST

The documents are those of ScanCode LicenseDB (the package `licensedcode-data`, CC-BY-4.0, nexB Inc.
and others). One licence is one artifact; its category is the label.

    DEST/labels.sqlite                        table `labels`, one row an upload
    DEST/files/<artifact_id>/raw_text.json    {"text": …}; absent where a licence has no text
    DEST/files/<artifact_id>/rule_01.txt …    how the licence is quoted in real code, at most 40
    DEST/files/<artifact_id>/metadata.json    names and owners; the label is not in it
    DEST/business.json                        what it was built from; written last

The faults that are planted among the labels stand in `plant`; README.md here tells them. The result
is always the same, and is put in place whole: a second call finds it there and does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

PACKAGE = "licensedcode-data"
FORMAT = 2
"""Grows when this script builds something else from the same package."""
STAMP = "business.json"
MAX_RULES = 40
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://scancode-licensedb.aboutcode.org/")
UPLOADERS = ("amara", "bo", "chiara", "deniz", "emeka", "freya", "goran", "hana")
METADATA = ("short_name", "name", "owner", "homepage_url", "spdx_license_key", "language")

_FRONT_MATTER = re.compile(r"---\n(.*?)\n---[^\S\n]*(?:\n|\Z)(.*)\Z", re.DOTALL)
_EXPRESSION = re.compile(r"^license_expression: *['\"]?([^'\"\n]+?)['\"]? *$", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Row:
    """One row of the table `labels`."""

    artifact_id: str
    label: str | None
    file_hash: str | None
    """sha256 of raw_text.json; NULL where there is none."""
    name: str
    uploaded_at: str
    uploader: str


@dataclass
class Business:
    """All that is about to be written."""

    rows: list[Row] = field(default_factory=list)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Artifact id → file name → content."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("destination", type=Path, metavar="DEST")
    destination = parser.parse_args(arguments).destination
    return put(destination, _stamp(), made)


def put(destination: Path, stamp: Mapping[str, Any], make: Callable[[], Business]) -> int:
    """Build the business that `make` gives at `destination`, unless it stands there, and say so."""
    if not built(destination, stamp, make):
        print(f"{destination}: already built from {' '.join(map(str, next(iter(stamp.items()))))}")
        return 0
    rows, files = _sizes(destination)
    print(f"{destination}: {rows:,} label rows and {files:,} files")
    return 0


def build(destination: Path) -> bool:
    """Build the business of licences at `destination`: see `built`."""
    return built(destination, _stamp(), made)


def made() -> Business:
    """The business of licences, with its faults."""
    business = from_licences(_data_folder())
    plant(business)
    return business


def built(destination: Path, stamp: Mapping[str, Any], make: Callable[[], Business]) -> bool:
    """Build the business that `make` gives at `destination`; False if it stands there already.

    Raises `SystemExit` when `destination` holds something that no such script made.
    """
    if _found_stamp(destination) == stamp:
        return False
    if destination.exists() and not (destination / STAMP).is_file():
        sys.exit(f"{destination} is there, but this script did not make it; give another DEST")
    aside = destination.with_name(f".{destination.name}.building")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    business = make()
    _write_files(aside / "files", business.files)
    _write_labels(aside / "labels.sqlite", business.rows)
    (aside / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    _replace(destination, aside)
    return True


def _replace(destination: Path, aside: Path) -> None:
    """Put `aside` in the place of `destination`; whoever looks finds one of them, or neither."""
    old = destination.with_name(f".{destination.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if destination.exists():
        destination.rename(old)
    aside.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def from_licences(data: Path) -> Business:
    """The business as it would be if nobody ever made a mistake."""
    business = Business()
    rules = _rules_by_licence(data / "rules")
    for path in sorted((data / "licenses").glob("*.LICENSE")):
        facts, text = _read(path)
        key = facts["key"]
        files = _files_of(facts, text, rules.get(key, ()))
        business.files[artifact_id(key)] = files
        business.rows.append(_row(artifact_id(key), facts, files.get("raw_text.json")))
    return business


def artifact_id(key: str) -> str:
    """The GUID of a licence key, the same on every machine."""
    return str(uuid.uuid5(NAMESPACE, key))


def plant(business: Business) -> None:
    """Add the faults that any business has. Each is told in README.md beside this script."""
    rows = {row.artifact_id: row for row in business.rows}

    def licence(key: str) -> Row:
        return rows[artifact_id(key)]

    def upload_again(key: str, planted: str, **changes: Any) -> None:
        """The same content under another id, its label row changed by `changes`."""
        copy = artifact_id(planted)
        business.files[copy] = dict(business.files[artifact_id(key)])
        business.rows.append(replace(licence(key), artifact_id=copy, **changes))

    # A duplicate: the same text and label under another id.
    upload_again("mit", "planted/duplicate")
    # A conflicting duplicate: the same text under another id, with another label.
    upload_again("wtfpl-2.0", "planted/conflict", label="Commercial")
    # A label row twice, and an id with two different labels.
    business.rows.append(licence("zlib"))
    business.rows.append(replace(licence("sleepycat"), label="Permissive"))
    # An artifact nobody labelled, and one whose label is NULL.
    nameless = business.files[artifact_id("planted/no label row")] = {}
    nameless["raw_text.json"] = as_json({"text": "All rights reserved, but nobody asked."})
    upload_again("isc", "planted/unlabelled", label=None)
    # A label without an artifact, and an artifact whose folder is empty.
    for planted in ("planted/label without artifact", "planted/artifact without files"):
        business.rows.append(_row(artifact_id(planted), {"category": "Copyleft", "name": planted}))
    business.files[artifact_id("planted/artifact without files")] = {}
    # Ids that must never become a path.
    for unsafe in ("../../etc/passwd", "a\nb"):
        business.rows.append(_row(unsafe, {"category": "Permissive", "name": "unsafe id"}))


def _rules_by_licence(folder: Path) -> Mapping[str, list[str]]:
    """Licence key → the texts of the rules that speak of this licence alone, in name's order."""
    found: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".RULE"))
    for name in names:
        match = _FRONT_MATTER.match((folder / name).read_text(encoding="utf-8"))
        expression = _EXPRESSION.search(match[1]) if match else None
        if match and expression and len(found[expression[1]]) < MAX_RULES:
            found[expression[1]].append(match[2].strip())
    return found


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The facts in front of a licence's text, and the text."""
    match = _FRONT_MATTER.match(path.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{path}: no front matter; is this another {PACKAGE}?")
    return yaml.load(match[1], Loader=_LOADER), match[2].strip()


def _files_of(facts: Mapping[str, Any], text: str, rules: Iterable[str]) -> dict[str, bytes]:
    files = {"raw_text.json": as_json({"text": text})} if text else {}
    files |= {f"rule_{n:02}.txt": rule.encode() for n, rule in enumerate(rules, 1)}
    files["metadata.json"] = as_json({name: facts[name] for name in METADATA if name in facts})
    return files


def _row(identity: str, facts: Mapping[str, Any], content: bytes | None = None) -> Row:
    """A label row; when and by whom it was uploaded follows from `identity`."""
    chance = uuid.uuid5(NAMESPACE, identity).int
    uploaded = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=chance % (2 * 365 * 24 * 60))
    return Row(
        artifact_id=identity,
        label=facts["category"],
        file_hash=hashlib.sha256(content).hexdigest() if content else None,
        name=facts["name"],
        uploaded_at=uploaded.isoformat(sep=" ", timespec="minutes"),
        uploader=UPLOADERS[chance % len(UPLOADERS)],
    )


def _write_files(folder: Path, files: Mapping[str, Mapping[str, bytes]]) -> None:
    for artifact, contents in files.items():
        (folder / artifact).mkdir(parents=True)
        for name, content in contents.items():
            (folder / artifact / name).write_bytes(content)


def _write_labels(path: Path, rows: Iterable[Row]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE labels (artifact_id TEXT, label TEXT, file_hash TEXT,"
            " name TEXT, uploaded_at TEXT, uploader TEXT)"
        )
        database.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?)",
            [
                (r.artifact_id, r.label, r.file_hash, r.name, r.uploaded_at, r.uploader)
                for r in rows
            ],
        )


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _data_folder() -> Path:
    """Where the installed package keeps its licences; found without importing it."""
    for file in importlib.metadata.files(PACKAGE) or ():
        if file.match("licensedcode/data/licenses/*.LICENSE"):
            return Path(str(file.locate())).parents[1]
    sys.exit(f"the package {PACKAGE} is installed, but holds no licences")


def _stamp() -> dict[str, Any]:
    return {PACKAGE: importlib.metadata.version(PACKAGE), "format": FORMAT}


def _found_stamp(destination: Path) -> Any:
    try:
        return json.loads((destination / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sizes(destination: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(destination / "labels.sqlite")) as database:
        rows = database.execute("SELECT count(*) FROM labels").fetchone()[0]
    return rows, sum(len(files) for _, _, files in os.walk(destination / "files"))


if __name__ == "__main__":
    sys.exit(main())
