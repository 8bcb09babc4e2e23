"""LABEL_OVERRIDES as spreadsheets of all languages write it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from handful.errors import DataError
from handful.steps.reconcile.snapshot.overrides import override, read


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
    "text",
    [
        "artifact_id;label;;\r\na1;Verträge;;\r\n;;;\r\na2;b;;\r\n;;;\r\n",
        "artifact_id,label,\r\na1,Verträge,\r\na2,b,\r\n",
        "artifact_id\tlabel\r\na1\tVerträge\r\n \t\r\na2\tb\r\n\t\r\n",
        "sep=;\r\na1;Verträge;\r\n;;\r\na2;b\r\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_sheets_empty_cells_and_its_encoding(text: str, encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = write(tmp_path, (mark + text).encode(encoding))
    assert read(path).rows() == [("a1", "Verträge"), ("a2", "b")]


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
def test_another_encoding_is_told_with_what_to_do(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a1;b\r\na2;Verträge\r\n".encode(encoding))
    with pytest.raises(DataError, match=r"no text in UTF-8: its line \d") as caught:
        read(path)
    assert "CSV UTF-8" in str(caught.value)


@pytest.mark.parametrize("text", ["a1;\r\na2;b\r\n", "a1;b\r\n;b\r\n", "a1;b;c\r\na2;b;\r\n"])
def test_a_cell_that_lacks_or_is_too_many_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"over\.csv:\d"):
        read(write(tmp_path, text))


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


def test_blanks_around_a_cell_are_meant_where_the_rows_have_them(tmp_path: Path) -> None:
    rows = pl.DataFrame({"artifact_id": ["a1", "a2", "a3"], "label": ["cat", "dog", " bird "]})
    path = write(tmp_path, "a1; dog \na2;  bird\na3 ; bird \n")
    settings: Any = SimpleNamespace(
        reconcile=SimpleNamespace(LABEL_OVERRIDES=path),
        production=SimpleNamespace(ID_FORMAT="text"),
    )
    assert override(rows, settings)["label"].to_list() == ["dog", "bird", " bird "]
