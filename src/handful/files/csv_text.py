"""Every CSV that handful writes, made to be opened in a spreadsheet.

Labels, ids and names come from databases, and may be anything. A cell that a spreadsheet would take
for a formula begins with an apostrophe; so does what follows a `;` or a tab within a cell, where a
spreadsheet of another language begins a new one. `cell_as_meant` takes it off again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

# Also in the full width that some spreadsheets read as the same.
_FORMULA = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_DANGEROUS = re.compile(rf"(^|[;,\t\r\n|])(?='*{_FORMULA})")
_MADE_SAFE = re.compile(rf"(^|[;,\t\r\n|])'(?='*{_FORMULA})")


def csv_bytes(rows: Iterable[Iterable[object]], *, mark: bool = False) -> bytes:
    """The file, in UTF-8; with the `mark` that spreadsheets know it by, if it is made for them.

    Text is made safe; a number stays one.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue().encode("utf-8-sig" if mark else "utf-8", "replace")


def safe_cell(cell: str) -> str:
    """An apostrophe before whatever a spreadsheet would take for a formula."""
    return _DANGEROUS.sub(r"\1'", cell)


def cell_as_meant(cell: str) -> str:
    """A cell without the apostrophes that `safe_cell` has put into it."""
    return _MADE_SAFE.sub(r"\1", cell)
