"""ETags of a listing beside those that reconcile has left: which differences are damage."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from handful import layout
from handful.errors import Damaged
from handful.steps.prepare.similarity.known_contents import KnownEtags
from handful.storage.columns import LISTING_SCHEMA

ONE, OTHER = "0" * 32, "f" * 32


def known(then: str) -> KnownEtags:
    file = io.BytesIO()
    pl.DataFrame({"artifact_id": ["a"], "file": ["t.txt"], "etag": [then]}).write_parquet(file)
    store: Any = SimpleNamespace(read=lambda _: file.getvalue(), url="s3://store/EXP-1")
    return KnownEtags(store, layout.remedy_for(f"{layout.ARTIFACTS}/", "EXP-1"))


@pytest.mark.parametrize(
    ("then", "now", "is_damage"),
    [
        (ONE, ONE, False),
        (ONE, OTHER, True),
        (f"{ONE}-2", f"{ONE}-2", False),
        (f"{ONE}-2", f"{OTHER}-2", True),
        ("mtime-1764460000000000000-7", ONE, False),
        (ONE, f"{OTHER}-2", False),
        (f"{ONE}-2", OTHER, False),
        (f"{ONE}-2", f"{OTHER}-3", False),
        ("", ONE, False),
        (ONE, "another-server's", False),
    ],
)
def test_a_store_that_was_moved_is_not_damaged(then: str, now: str, is_damage: bool) -> None:
    """From a disk to a bucket, or in other parts than before: no ETag is the same then."""
    row = {"key": f"{layout.ARTIFACTS}/a/t.txt", "size": 7, "etag": now, "archived": None}
    batch = pa.RecordBatch.from_pylist([row], LISTING_SCHEMA)
    if is_damage:
        with pytest.raises(Damaged, match="not what reconcile copied"):
            known(then).check(batch)
    else:
        known(then).check(batch)
