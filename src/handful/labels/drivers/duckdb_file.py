"""DuckDB: a file is opened read-only, and in memory only a query that reads is let through."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from sqlalchemy.engine import URL

from handful.errors import DataError
from handful.files.paths import is_file
from handful.labels.failures import shown

_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]+:")
"""`md:`, `s3://`, `ducklake:`, …: not a file on this machine."""


def duckdb_url(url: URL, scratch: Path | None) -> URL:
    """The URL with `access_mode=read_only`, and with temporary files that lie in `scratch`.

    By itself DuckDB makes a file that is missing, and puts what does not fit into memory beside
    the file, or into the working directory. `DataError` if there is no file.
    """
    options = {"temp_directory": str(scratch or tempfile.gettempdir())}
    if not is_in_memory(url):
        name = url.database or ""
        if not name.lower().startswith(("md:", "motherduck:")):
            options["access_mode"] = "read_only"
        if not _ELSEWHERE.match(name) and not is_file(name):
            there = "is not a file" if os.path.lexists(name) else "is not there"
            raise DataError(
                f"the database file {there}",
                where=shown(url),
                remedy="write duckdb:///file.db, relative to the experiment, or "
                "duckdb:////full/path, or duckdb:///:memory:",
            )
    return url.update_query_dict(options)


def is_in_memory(url: URL) -> bool:
    """Nothing is opened; queries read files such as Parquet."""
    name = url.database or ":memory:"
    return name.startswith(":memory:") or name == ":default:"
