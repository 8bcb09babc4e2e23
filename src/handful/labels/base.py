"""The protocol of a place that gives label rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

LABELS_SCHEMA = pa.schema(
    [
        ("artifact_id", pa.large_string()),
        ("label", pa.large_string()),
        ("file_hash", pa.large_string()),
        ("row", pa.large_string()),
        ("kept_as_text", pa.large_string()),
    ]
)
"""One row a label row. NULL stays null; `row` holds all other columns as a JSON object.
`kept_as_text` is null, or names those of the first two columns, with a comma between, that hold the
database's own text of a value that no type here can hold (an infinite date, bytes that are no
text)."""
BATCH = 10_000
"""Rows that are held at once as Python's values."""
BATCH_OF_DOCUMENTS = 100
"""The same where columns are documents: each may be a megabyte."""
BATCH_OF_BYTES = 20_000
"""Rows that are held at once as bytes, which take a tenth of that room."""
MOST_BYTES = 16_000_000
"""Of these, roughly: a row may be long."""


class LabelSource(Protocol):
    """Production's label rows."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        """All label rows, streamed, as batches of `LABELS_SCHEMA`, in a read-only transaction.

        Where the rows hold documents (FILES_URL = none), a column of bytes for each follows, named
        as its file is.

        Raises `DataError` when the query fails or gives no columns `artifact_id` and `label`,
        `Denied` when the login is refused, `Unreachable` when nobody answers or the connection
        is lost on the way. No message shows the password.
        """
