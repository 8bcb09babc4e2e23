"""A generated business: the keys of its bucket, its label rows, and an experiment that wants them.

Everything follows from a number, so the server, the database and the contestants agree without
asking each other.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

PREFIX = "production"
"""Of all keys in the bucket."""
LABELS = ("invoice", "letter", "licence", "manual", "report")
FUNCTIONS = """
def get_dataset_features(): ...
def encode_data(instance): ...
"""


def artifact_id(number: int) -> str:
    """A GUID, always the same one."""
    digest = hashlib.md5(b"artifact %d" % number, usedforsecurity=False).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))


def file_name(number: int) -> str:
    return "raw_text.json" if number == 0 else f"page_{number:02}.png"


def keys(objects: int, files: int, layout: str = "ids") -> Iterator[str]:
    """So many keys below `PREFIX`, `files` for each artifact, laid out as one of `LAYOUTS`."""
    before = LAYOUTS[layout]
    for number in range(objects):
        artifact = number // files
        yield f"{before(artifact)}{artifact_id(artifact)}/{file_name(number % files)}"


def _day(artifact: int) -> str:
    """One of the days of three years, more of them lately: `2024/05/17/`."""
    share = int(artifact_id(artifact)[-6:], 16) / 16**6
    return (date(2022, 1, 1) + timedelta(days=int(1_095 * share**0.5))).strftime("%Y/%m/%d/")


def _tenant(artifact: int) -> str:
    """One of a few customers, the first of them with half of all artifacts."""
    number = int(artifact_id(artifact)[-4:], 16)
    return f"customer-{0 if number % 2 else number % 40}/inbox/"


LAYOUTS: dict[str, Callable[[int], str]] = {
    "ids": lambda artifact: "",  # noqa: ARG005 - the keys begin with the ids
    "dates": _day,
    "tenants": _tenant,
}


def size_of(key: str) -> int:
    """Bytes of the object: a few hundred."""
    return 200 + int.from_bytes(key[:3].encode()) % 400


def content_of(key: str) -> bytes:
    """What the latency server answers, too."""
    seed, size = key.encode(), size_of(key)
    return (seed * (size // len(seed) + 1))[:size]


def write_database(path: Path, artifacts: int) -> None:
    """SQLite with one label row an artifact."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE labels (id TEXT, label TEXT, hash TEXT, pages INTEGER)")
        connection.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?)",
            (
                (artifact_id(n), LABELS[n % len(LABELS)], f"hash {n}", n % 20)
                for n in range(artifacts)
            ),
        )
    connection.close()


def write_experiment(
    directory: Path, database: Path, *, files_url: str, store: str, endpoint_url: str
) -> Path:
    """An experiment that wants every file of every artifact; its directory."""
    directory.mkdir(parents=True)
    (directory / "settings.ini").write_text(
        f"""[experiment]
STORE = {store}
S3_ENDPOINT_URL = {endpoint_url}
[production]
DATABASE_URL = sqlite:///{database}
LABEL_QUERY = SELECT id AS artifact_id, label, hash AS file_hash, pages FROM labels
FILES_URL = {files_url}
S3_ENDPOINT_URL = {endpoint_url}
FILES_FROM_PROD = raw_text.json, page_*.png
[reconcile]
FILES_ON_RESEARCH = raw_text.json
[train]
MODEL_NAMES = none
"""
    )
    (directory / "functions.py").write_text(FUNCTIONS)
    return directory
