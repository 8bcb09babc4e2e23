"""The cheap cut of a table of tests: a few rows in `make test`, all of them in `make test-all`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def cheap_cut(rows: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """The rows as parameters; all but the `quick` ones are slow."""
    return [pytest.param(row, marks=() if row in quick else pytest.mark.slow) for row in rows]
