"""Values of a column as the contents of files."""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest

from handful.errors import DataError, UserError
from handful.labels.base import BATCH_OF_DOCUMENTS, LABELS_SCHEMA
from handful.labels.columns import Column, as_known
from handful.labels.database import DatabaseLabels
from handful.labels.documents import column_of, contents
from handful.labels.drivers.text_values import Kind

UUID_BYTES = UUID("12345678-1234-4234-8234-123456789abc").bytes


def of_objects(file: str, *values: Any) -> Sequence[bytes | None]:
    return contents(as_known(Column(Kind.OBJECT, values)), file).to_list()


def of_text(kind: Kind, file: str, *values: str | None) -> Sequence[bytes | None]:
    return contents(Column(kind, pl.Series(values, dtype=pl.String)), file).to_list()


def test_the_column_is_the_name_without_its_extension() -> None:
    assert [column_of(name) for name in ("text.txt", "a.b.json", "é x.csv")] == [
        "text",
        "a.b",
        "é x",
    ]


def test_text_is_utf_8_and_null_stays() -> None:
    assert of_objects("a.txt", "é\n", None, "") == ["é\n".encode(), None, b""]
    assert of_text(Kind.TEXT, "a.txt", "é", None, "") == ["é".encode(), None, b""]
    assert of_objects("a.txt", "half \ud800", "whole") == [b"half \\ud800", b"whole"]


def test_bytes_are_as_they_are_whatever_the_file_is_called() -> None:
    for file in ("a.jpg", "a.txt", "a.json"):
        assert of_objects(file, UUID_BYTES, None, b"", memoryview(b"\xff")) == [
            UUID_BYTES,
            None,
            b"",
            b"\xff",
        ]
        assert of_text(Kind.BYTEA, file, "\\x00ff", None, "\\x") == [b"\x00\xff", None, b""]
        binary = Column(Kind.BYTES, pl.Series([UUID_BYTES, None], dtype=pl.Binary))
        assert contents(binary, file).to_list() == [UUID_BYTES, None]


def test_numbers_and_days_are_their_text() -> None:
    day = datetime.date(2026, 1, 2)
    assert of_objects("a.txt", 2.0, True, Decimal("1.50"), day) == [
        b"2",
        b"true",
        b"1.50",
        b"2026-01-02",
    ]
    assert of_text(Kind.INTEGER, "a.txt", "12", None) == [b"12", None]


@pytest.mark.parametrize(
    "value", [{"a": [1, None]}, [1, "x"], 3, 2.5, True, "plain", "123", "[sic]"]
)
def test_json_can_be_read_again(value: Any) -> None:
    (made, nothing) = of_objects("a.JSON", value, None)
    assert nothing is None
    assert json.loads(made or b"") == value


def test_text_that_is_an_object_or_a_list_is_json_already() -> None:
    texts = '{"a":  1.10}', ' ["x"]', "{no", "null"
    expected = [b'{"a":  1.10}', b' ["x"]', b'"{no"', b'"null"']
    assert of_objects("a.json", *texts) == expected
    assert of_text(Kind.TEXT, "a.json", *texts) == expected
    assert of_objects("a.json", "[" * 100_000) == [b'"' + b"[" * 100_000 + b'"']


def test_the_server_s_own_json_stands_as_it_is() -> None:
    for file in ("a.json", "a.txt"):
        assert of_text(Kind.JSON, file, '{"a": 1.10}', "null", None) == [
            b'{"a": 1.10}',
            b"null",
            None,
        ]


def test_numbers_of_a_server_are_json_numbers_and_null_stays() -> None:
    assert of_text(Kind.INTEGER, "a.json", "12", None) == [b"12", None]
    assert of_text(Kind.BOOLEAN, "a.json", "t", None) == [b"true", None]


@pytest.fixture
def database(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "labels.db") as connection:
        connection.execute("CREATE TABLE d (id INT, label TEXT, body TEXT, extra INT)")
        connection.executemany(
            "INSERT INTO d VALUES (?, 'x', ?, 1)", [(n, f"body {n}") for n in range(250)]
        )
    connection.close()
    return f"sqlite:///{tmp_path / 'labels.db'}"


QUERY = 'SELECT id AS artifact_id, label, body AS "BODY", extra FROM d'


def test_documents_follow_the_label_rows_and_leave_them(database: str) -> None:
    batches = list(DatabaseLabels(database, QUERY, documents=("body.txt", "body.json")).rows())
    assert max(batch.num_rows for batch in batches) == BATCH_OF_DOCUMENTS
    table = pl.concat([pl.DataFrame(pl.from_arrow(batch)) for batch in batches])
    assert table.columns == [*LABELS_SCHEMA.names, "body.txt", "body.json"]
    assert table.row(7, named=True) == {
        "artifact_id": "7",
        "label": "x",
        "file_hash": None,
        "row": '{"extra": 1}',
        "kept_as_text": None,
        "body.txt": b"body 7",
        "body.json": b'"body 7"',
    }


def test_without_documents_nothing_is_as_it_was_not(database: str) -> None:
    (batch,) = DatabaseLabels(database, QUERY).rows()
    assert batch.schema.equals(LABELS_SCHEMA)
    assert batch["row"][0].as_py() == '{"BODY": "body 0", "extra": 1}'


def test_the_label_can_be_a_document_too(database: str) -> None:
    batch = next(iter(DatabaseLabels(database, QUERY, documents=("label.txt",)).rows()))
    assert (batch["label"][0].as_py(), batch["label.txt"][0].as_py()) == ("x", b"x")


def test_a_missing_column_names_those_there_are(database: str) -> None:
    labels = DatabaseLabels(database, QUERY, documents=("bodi.txt",))
    with pytest.raises(UserError, match="'artifact_id', 'label', 'BODY', 'extra'") as error:
        list(labels.rows())
    assert "perhaps BODY.txt" in str(error.value)


def test_a_column_that_is_there_twice_is_refused(database: str) -> None:
    query = "SELECT id AS artifact_id, label, body, extra AS Body FROM d"
    with pytest.raises(DataError, match="'body' 2 times"):
        list(DatabaseLabels(database, query, documents=("body.txt",)).rows())
