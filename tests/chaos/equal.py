"""Is a store as an undisturbed run leaves it?

Byte for byte, but for what tells when, how fast and in how many runs something was done. That
stands in the files of `TIMED` alone: they are compared as what they say, without the entries of
`TIMES`; and each size and hash in them must be that of the file that lies there. Nothing may be
missing, and nothing left behind.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from handful.files import checksums
from handful.system.machine import ProcessIdentity, is_alive, this_process

Files = Mapping[str, bytes]
"""Key in the experiment's store → content."""

RESULTS = "results/full_dataset"
TIMED = (
    "data/reconciliation/reconciled.json",
    "data/reconciliation/snapshot.json",
    "data/reconciliation/summary.json",
    "data/prepared_data/full_dataset/prepared.json",
    f"{RESULTS}/tuned.json",
    f"{RESULTS}/tuning/*/tuning.json",
    f"{RESULTS}/tuning/*/trial-*/trial.json",
    f"{RESULTS}/tuning/*/trial-*/metrics.jsonl",
    f"{RESULTS}/trained.json",
    f"{RESULTS}/models/*/seed-*/final/handful.json",
    f"{RESULTS}/models/*/seed-*/metrics.jsonl",
    f"{RESULTS}/models/*/probe/final/handful.json",
    f"{RESULTS}/models/*/features/*/probe.json",
    f"{RESULTS}/tested.json",
    f"{RESULTS}/evaluation/*/seed-*/metrics.json",
    f"{RESULTS}/evaluation/looks.jsonl",
    f"{RESULTS}/compared.json",
    f"{RESULTS}/comparison.json",
    f"{RESULTS}/reported.json",
)
TIMES = {
    "copied",
    "documents_per_second",
    "finished",
    "finished_at",
    "production_as_of",
    "seconds",
    "snapshot_at",
    "taken_at",
    "training_seconds",
    "when",
}
OF_TIMED = re.compile(
    r"what is (reconciled|prepared|tuned|trained|tested|compared)|the results of baseline-[\w-]+"
)
"""Hashes of records and of metrics, of which the content is compared itself."""
REPORT = f"{RESULTS}/report.html"
SIZE_OF_REPORT = f"{RESULTS}/reported.json: size"
LOCKS = "*/lock/*.json"
_FIGURES = re.compile(rb'(?<=<td class="num">)[^<]*|\b[0-9a-f]{12,64}\b|\d[\d.,:]*')
"""In the report, which is made of files that are compared themselves."""


def differences(found: Files, expected: Files) -> list[str]:
    """What is not as it should be, a line each; `expected` is what an undisturbed run left."""
    wrong = [f"left behind: {key}" for key in sorted(found.keys() - expected.keys())]
    wrong += [f"missing: {key}" for key in sorted(expected.keys() - found.keys())]
    for key in sorted(found.keys() & expected.keys()):
        if found[key] != expected[key]:
            wrong += _differences(key, found, expected)
    return wrong


def without_locks(files: Files) -> dict[str, bytes]:
    """All but locks that keep nobody out.

    They say that nobody holds them (such a number stays used), or that one does who is dead, and
    after whom nothing was left to do.
    """
    return {k: v for k, v in files.items() if not (fnmatch(k, LOCKS) and _keeps_nobody_out(v))}


def _keeps_nobody_out(content: bytes) -> bool:
    process = ProcessIdentity(**json.loads(content)["process"])
    return not is_alive(replace(process, machine=this_process().machine))


def _differences(key: str, found: Files, expected: Files) -> list[str]:
    if key == REPORT:
        same = _FIGURES.sub(b"#", found[key]) == _FIGURES.sub(b"#", expected[key])
        return [] if same else [f"other words: {key}"]
    if not any(fnmatch(key, pattern) for pattern in TIMED):
        return [f"other bytes: {key}"]
    wrong = wrong_hashes(key, found)
    try:
        mine, other = _read(key, found[key]), _read(key, expected[key])
    except ValueError as error:
        return [*wrong, f"damaged: {key}: {error}"]
    return [*wrong, *_unlike(key, mine, other)]


def wrong_hashes(key: str, files: Files) -> list[str]:
    """What the record or marker at `key` says of itself and of files, and is not so."""
    if not key.endswith(".json"):
        return []
    fault = checksums.fault_of_json(files[key])
    if fault:
        return [f"damaged: {key}: {fault}"]
    wrong = []
    for name, (size, digest) in json.loads(files[key]).get(checksums.FILES, {}).items():
        its = name if name.startswith(("data/", "results/")) else f"{key.rpartition('/')[0]}/{name}"
        content = files.get(its)
        if content is None or (len(content), hashlib.sha256(content).hexdigest()) != (size, digest):
            wrong.append(f"not what {key} says: {its}")
    return wrong


def _read(key: str, content: bytes) -> Any:
    if key.endswith(".jsonl"):
        return [json.loads(line) for line in content.splitlines()]
    return json.loads(content)


def _unlike(where: str, mine: Any, other: Any) -> list[str]:
    if isinstance(mine, dict) and isinstance(other, dict):
        left_out = {*TIMES, checksums.MEMBER}
        wrong = []
        for name in sorted({*mine, *other}):
            if name not in mine or name not in other:
                wrong.append(f"{'more' if name in mine else 'less'}: {where}: {name}")
            elif name == checksums.FILES and isinstance(mine[name], dict):
                wrong += [f"files: {where}: {n}" for n in sorted({*mine[name]} ^ {*other[name]})]
            elif not (
                name in left_out or OF_TIMED.fullmatch(name) or f"{where}: {name}" == SIZE_OF_REPORT
            ):
                wrong += _unlike(f"{where}: {name}", mine[name], other[name])
        return wrong
    if isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        return [
            line
            for number, pair in enumerate(zip(mine, other, strict=True))
            for line in _unlike(f"{where}: {number}", *pair)
        ]
    return [] if mine == other else [f"other: {where}: {mine!r:.200} for {other!r:.200}"]
