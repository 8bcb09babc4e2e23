"""LABEL_OVERRIDES as spreadsheets of all languages write it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from handful.errors import DataError
from handful.steps.reconcile.overrides import override, read


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "over.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_separator_is_read(
    separator: str, header: bool, mark: str, end: str, tmp_path: Path
) -> None:
    rows = [["a1", "cat"], ["a2", f'"big{separator}dog"'], ["a3", "x y"], ["a4", '"say ""no"""']]
    lines = [["artifact_id", "label"], *rows] if header else rows
    text = mark + end.join(separator.join(row) for row in lines) + end
    assert read(write(tmp_path, text)).rows() == [
        ("a1", "cat"),
        ("a2", f"big{separator}dog"),
        ("a3", "x y"),
        ("a4", 'say "no"'),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sep=;\r\na1;cat\r\n", [("a1", "cat")]),
        ("sep=,\r\na1,cat\r\n", [("a1", "cat")]),
        ("a;1,cat\na2,dog\n", [("a;1", "cat"), ("a2", "dog")]),
        ("a1;cat, small\na2;dog\n", [("a1", "cat, small"), ("a2", "dog")]),
        ("a1,cat; small\na2,dog\n", [("a1", "cat; small"), ("a2", "dog")]),
        ("Artifact_ID;Label\n\na1;cat\n\n", [("a1", "cat")]),
        ("artifact_id\tlabel\na1\tcat, and; more\n", [("a1", "cat, and; more")]),
    ],
)
def test_what_makes_two_fields_of_every_line_is_meant(
    text: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert read(write(tmp_path, text)).rows() == expected


@pytest.mark.parametrize(
    ("text", "line"), [("a1;cat\na2,dog\n", 1), ("a1,cat\na2\n", 2), ("a1|cat\n", 1)]
)
def test_what_fits_nothing_names_the_line_and_the_separators(
    text: str, line: int, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"over.csv:{line}") as caught:
        read(write(tmp_path, text))
    assert "semicolon" in str(caught.value)


def test_an_id_that_the_database_spells_otherwise_is_told_so(tmp_path: Path) -> None:
    spelled = "8b9cad0e-1f20-4132-8435-465768798a9b"
    path = write(tmp_path, f"{spelled.upper()},cat\n")
    settings: Any = SimpleNamespace(
        reconcile=SimpleNamespace(LABEL_OVERRIDES=path),
        production=SimpleNamespace(ID_FORMAT="exact"),
    )
    rows = pl.DataFrame({"artifact_id": [spelled, "b"], "label": ["dog", "dog"]})
    with pytest.raises(DataError, match=rf"'{spelled.upper()}' as '{spelled}'.*ID_FORMAT = guid"):
        override(rows, settings)
    with pytest.raises(DataError, match="correct the ids"):
        override(rows.filter(pl.col("label") == ""), settings)
    settings.production.ID_FORMAT = "guid"
    assert override(rows, settings)["label"].to_list() == ["cat", "dog"]
