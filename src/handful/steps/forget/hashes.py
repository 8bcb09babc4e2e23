"""Hashes and checksums after a forgetting: whoever names what was rewritten names what is there.

So nothing seems changed or damaged, and no step runs again for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from handful import layout
from handful.errors import Absent
from handful.files import checksums
from handful.files.checksums import Checksum
from handful.records import Fate, Record
from handful.steps.reconcile.keys.guids import normalize_guid_ids
from handful.steps.reconcile.ledger import Ledger
from handful.storage.base import Store

_SIZED = re.compile(rb'(\d+)(,\s*")([0-9a-f]{64})(?=")')
_HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_RECORDS = (
    *("reconciled.json", "prepared.json", "tuned.json", "trained.json", "tested.json"),
    *("compared.json", "reported.json"),
)
_FILE = ["artifact_id", "file"]


def substitute_hashes(
    data: bytes, sums: Iterable[tuple[Checksum, Checksum]], hashes: Mapping[str, str]
) -> bytes:
    """`data`, a text, with new checksums and hashes in the place of old ones.

    `sums`: of files, before and after. `hashes`: others, before → after.
    """
    pairs = list(sums)
    sized = {(one.size, one.sha256): other for one, other in pairs}
    known = {one.sha256: other.sha256 for one, other in pairs} | dict(hashes)

    def of_file(found: re.Match[bytes]) -> bytes:
        new = sized.get((int(found[1]), found[3].decode()))
        return found[0] if new is None else b"%d%s%s" % (new.size, found[2], new.sha256.encode())

    def alone(found: re.Match[bytes]) -> bytes:
        return known.get(found[0].decode(), found[0].decode()).encode()

    changed = _SIZED.sub(of_file, data)
    # What was just put in is no key of `known`: no file became what another was.
    return _HASH.sub(alone, changed)


def in_order_of_naming(keys: Iterable[str]) -> list[str]:
    """Files that name others behind those that they name."""

    def place(key: str) -> tuple[int, str]:
        name = key.rsplit("/", 1)[-1]
        if name in _RECORDS:
            return 3 + _RECORDS.index(name), key
        if name == "report.html":
            return 3 + len(_RECORDS) - 1, key  # right before reported.json, by its name
        return int(layout.checks_itself(key)), key

    return sorted(keys, key=place)


def names_hashes(key: str) -> bool:
    """Can this file name others by their hashes?"""
    outside = key.startswith((f"{layout.ARTIFACTS}/", f"{layout.FORGOTTEN}/", layout.BUNDLES))
    if outside or f"/{layout.KEPT}/" in key:
        return False
    return key.endswith((".json", ".jsonl", ".html", ".md"))


def is_step_record(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in _RECORDS and not key.startswith(layout.JOBS)


def report_hash(data: bytes, kind: type[Record]) -> str:
    """How the fingerprint of the report has the record."""
    record = kind.from_json(data)
    return hashlib.sha256(replace(record, files={}).to_json()).hexdigest()


def count_anew(data: bytes, ledger: pl.DataFrame) -> bytes:
    """The record of reconcile, with the fates of `ledger`."""
    told = json.loads(data)
    told.pop(checksums.MEMBER, None)
    kept = ledger.filter(pl.col("fate") == Fate.KEPT.value)
    labels = kept.group_by("label").len().sort(["len", "label"], descending=[True, False])
    told["fates"] = dict(ledger.group_by("fate").len().sort("fate").iter_rows())
    told["labels"], told["kept"] = dict(labels.iter_rows()), kept.height
    return checksums.seal(json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")


def with_rows(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """JSON that checks itself, after `change`."""
    told = json.loads(data)
    told.pop(checksums.MEMBER, None)
    change(told)
    return checksums.seal(json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")


def stored_ledger_hash(store: Store, scratch: Path, *, guid: bool) -> str:
    """The hash of the ledger, from what stands in the store; empty if that does not tell."""
    ledger, listing = (
        _stored_table(store, scratch, layout.LEDGER),
        _stored_table(store, scratch, layout.LISTING),
    )
    if ledger is None or listing is None:
        return ""
    if guid:
        listing = listing.with_columns(normalize_guid_ids(pl.col("artifact_id")))
    kept = ledger.filter(pl.col("fate") == Fate.KEPT.value)
    made = kept.select("artifact_id", file="files_made").explode("file").drop_nulls()
    copied = kept.select("artifact_id", file="files").explode("file").drop_nulls()
    copied = copied.join(made, on=_FILE, how="anti")
    listed = listing.select(*_FILE, "size", content="etag").unique(_FILE)
    files = copied.join(listed, on=_FILE)
    processed = _stored_table(store, scratch, layout.PROCESSED)
    if made.height and processed is not None:
        contents = processed.select("artifact_id", "made").explode("made").drop_nulls()
        contents = contents.unnest("made").select(*_FILE, "size", "content")
        files = pl.concat([files, made.join(contents, on=_FILE)])
    return Ledger(ledger, files, stale=files.clear()).hash()


def rows_hash(store: Store, scratch: Path, splits: Mapping[str, list[str]]) -> str:
    """Of the Arrow files of all splits, as prepare has it. `splits`: split → keys."""
    found = ""
    for split in layout.SPLITS:
        found += arrow_hash(store, scratch, splits.get(split, []))
    return hashlib.sha256(found.encode()).hexdigest()


def arrow_hash(store: Store, scratch: Path, keys: Iterable[str]) -> str:
    """Of the Arrow files of one split."""
    digest, path = hashlib.sha256(), scratch / "hashed.arrow"
    for key in sorted(keys):
        store.fetch(key, path)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        path.unlink()
    return digest.hexdigest()


def encoded_data_hash(rows: str, label2id: Mapping[str, int], *, rows_only: bool) -> str:
    """As prepare has it: `rows_only` in stores of earlier builds."""
    if rows_only:
        return rows
    return hashlib.sha256(f"{rows}\0{json.dumps(dict(label2id))}".encode()).hexdigest()


def _stored_table(store: Store, scratch: Path, key: str) -> pl.DataFrame | None:
    path = scratch / "asked.parquet"
    try:
        store.fetch(key, path)
    except Absent:
        return None
    table = pl.read_parquet(path, memory_map=False)
    path.unlink()
    return table
