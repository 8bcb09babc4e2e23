"""Label rows from any database that SQLAlchemy can talk to, streamed and never written to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from handful.labels.base import BATCH, BATCH_OF_DOCUMENTS
from handful.progress import Discreet, Progress, Silent

__all__ = ["BATCH", "DatabaseLabels"]


@dataclass(frozen=True)
class DatabaseLabels:
    """The rows of `query` on the database at the SQLAlchemy URL `url`.

    Columns are found by name, whatever their case. The query is looked at before it is sent, and
    the connection may not write, see `handful.labels.statements` and
    `handful.labels.connection`; its transaction is rolled back at the end.
    """

    url: str = field(repr=False)
    query: str
    progress: Progress = field(default_factory=Silent, repr=False, compare=False)
    scratch: Path | None = field(default=None, repr=False, compare=False)
    """A folder on this machine, for private copies and a database's temporary files."""
    shown_as: str = ""
    """How messages name the database, if its address is not to be shown."""
    documents: tuple[str, ...] = ()
    """Files whose contents are columns of the query: `text.txt` is the column `text`."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        from handful.labels.failures import hider, without_address

        hide = hider(self.url, self.shown_as)
        with without_address(hide):
            yield from self._rows(Discreet(self.progress, hide))

    def _rows(self, progress: Progress) -> Iterator[pa.RecordBatch]:
        from sqlalchemy.exc import DBAPIError

        from handful.labels.batches import label_batches
        from handful.labels.connection import open_read_only_connection, parse_database_url
        from handful.labels.failures import translate_database_error
        from handful.labels.reading import ROWS_AT_ONCE, open_rows
        from handful.labels.statements import check_statement

        url = parse_database_url(self.url)
        check_statement(self.query, url, progress)
        connected = False
        try:
            with open_read_only_connection(url, progress, self.scratch) as connection:
                connected = True
                if self.documents:
                    connection.execution_options(**{ROWS_AT_ONCE: BATCH_OF_DOCUMENTS})
                yield from label_batches(open_rows(connection, self.query), self.documents)
        except DBAPIError as error:
            # The cause is left out: drivers may put the whole connection string into theirs.
            raise translate_database_error(error, url, connected=connected) from None
