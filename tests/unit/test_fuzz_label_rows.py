"""Whatever a driver hands over: the snapshot holds every row, and the ledger's totals add up."""

from __future__ import annotations

import array
import datetime as dt
import decimal
import ipaddress
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.errors import DataError
from handful.labels.base import LABELS_SCHEMA
from handful.labels.batches import label_batches
from handful.labels.columns import Column
from handful.labels.drivers.text_values import Kind
from handful.labels.reading import Rows, by_column, of_objects
from handful.settings import Limit
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.verify import Verified
from handful.steps.reconcile.keys.names import Wanted
from handful.steps.reconcile.ledger import conclude, summarise
from handful.steps.reconcile.matching import match
from handful.steps.reconcile.processing.process import PROCESSED, list_process_func_files
from handful.steps.reconcile.snapshot.contents import Hashes
from handful.steps.reconcile.snapshot.snapshot import About
from tests.support.fuzzing import examples, quick


class Lob:
    """A large object, as oracledb and others hand it over."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def read(self) -> Any:
        return self.value


class Key(str):
    """Text of a driver's own class."""


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


ODD: list[Any] = [
    *(10**5000, -(10**400), 2**64, decimal.Decimal("1E+131071"), decimal.Decimal("1E-16383")),
    *(decimal.Decimal("1E+999999"), decimal.Decimal("sNaN"), decimal.Decimal("-Infinity")),
    *(decimal.Decimal("-0"), decimal.Decimal(10**5000), float("nan"), -0.0, 1e308, 5e-324),
    *(dt.date.min, dt.datetime.max, dt.time(23, 59, 59, 999999), dt.timedelta.max),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=23, minutes=59, seconds=59))),
    *(b"\xff\xfe", bytearray(b"a"), memoryview(b"abcd")[::2], array.array("d", [1.0]), b"\0" * 16),
    *(ipaddress.ip_network("10.0.0.0/8"), range(3), {1, "a", None}, frozenset({(1, 2)}), (1, b"x")),
    *({1: {2: 3}, None: b"x", (1,): 1.5}, {"a": float("nan")}, {b"\xff": 1}),
    *("\ud800", "a\0b", "\x1b[2J", "é" * 300, "../..", "a" * 70_000, " a ", "\u202e", "", "  "),
    *(Key("a"), Lob("a"), Lob(b"\xff"), Lob(None), Lob(Lob("b"))),
    *(nested(50), nested(5_000), {"a": nested(2_000)}, complex(1, 2)),
]
IDS = st.sampled_from(["a", "b", "c", "d", "e", "..", "x/y", "", None])
LABELS = st.sampled_from(["cat", "dog", "Cat", None, "", " "])
anything = st.one_of(
    st.sampled_from(ODD),
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.decimals() | st.dates() | st.datetimes(timezones=st.timezones() | st.none()) | st.uuids(),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.sampled_from(ODD), max_size=2),
    st.lists(st.sampled_from(ODD), max_size=2) | st.tuples(st.sampled_from(ODD)),
)
some_rows = st.lists(
    st.tuples(IDS | anything, LABELS | anything, anything, anything), min_size=1, max_size=8
)
servers_text = st.text(max_size=10) | st.sampled_from(
    [
        *("9" * 5000, "1e400", "-", "infinity", "NaN", "{" * 500, "[" * 100_000, '{"a": ' * 3_000),
        *('{"a":1}', "{1,NULL}", "24:00:00", "0000-00-00", "\\xzz", "t", "\0", "1E+131071"),
        *("9" * 400 + " years", "9" * 30 + ":00:00", "99999-01-01", "{{}", '{"', "1 mon", "٣"),
    ]
)
KEYS = [(i, name, f"{i}/{name}", 1, "e", None) for i in "abcd" for name in ("raw", "p1")]
FILES = ["artifact_id", "file", "key", "size", "etag", "archived"]
NAMES = st.lists(
    st.sampled_from(["Artifact_ID", "label", "file_hash", "when", "when", "x'\"", "", "ſ"])
    | st.text(max_size=4),
    min_size=2,
    max_size=4,
)


def frame(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    table = pa.Table.from_batches(batches, LABELS_SCHEMA)
    return pl.DataFrame(pl.from_arrow(table))


def check_snapshot(rows: pl.DataFrame, count: int) -> None:
    """As many rows as came, each a JSON object that anybody can read, all of it Unicode."""
    assert rows.height == count
    for row in rows["row"]:
        assert isinstance(json.loads(row), dict)
    assert rows.write_ipc(None).getvalue()


def hashes(files: pl.DataFrame) -> Hashes:
    ids = files["artifact_id"].unique().to_list()
    found = {"artifact_id": ids, "file_hash": ids}
    return Hashes(pl.DataFrame(found, {"artifact_id": pl.String, "file_hash": pl.String}))


def check_ledger(rows: pl.DataFrame) -> None:
    section = SimpleNamespace(ON_LABEL_CONFLICT="drop", ON_MISSING_FILES="drop")
    listing = Listing(pl.LazyFrame(KEYS, FILES, orient="row"), two_ways=False)
    labelled = rows.with_columns(label_source=pl.lit("query"))
    settings: Any = SimpleNamespace(reconcile=section)
    found = match(labelled, listing, Wanted(("raw", "p*"), ("raw", "p*"), ()), settings, hashes)
    here = found.files.select("artifact_id", "file", "size", "etag")
    made = list_process_func_files(pl.DataFrame(schema=PROCESSED))
    ledger = conclude(found, Verified(here, made, 0), Troubles(Limit(1.0, True), rows.height))
    about = About("2026-11-20T14:03:00+00:00", {}, rows.height, len(KEYS), 0, 0)
    told = summarise(ledger, about, 4)
    assert told["label_rows"]["total"] == sum(told["label_rows"]["fates"].values()) == rows.height
    artifacts = {*"abcd", *rows["artifact_id"].drop_nulls()}
    assert told["artifacts"]["total"] == sum(told["artifacts"]["fates"].values()) == len(artifacts)
    fates = Counter(ledger.rows["fate"])
    assert sum(fates.values()) == rows.height + len({*"abcd"} - {*rows["artifact_id"]})
    assert set(ledger.rows.filter(pl.col("fate") == "kept")["artifact_id"]) <= {*"abcd"}
    assert ledger.hash()


@examples(30)
@given(some_rows)
def test_every_row_of_pythons_values_is_kept_and_counted(rows: list[tuple[Any, ...]]) -> None:
    names = ["artifact_id", "label", "file_hash", "other"]
    with quick():
        batches = iter([of_objects(by_column(rows))])
        found = frame(list(label_batches(Rows(names, (one for one in batches)))))
        check_snapshot(found, len(rows))
        check_ledger(found)


@examples(30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([kind for kind in Kind if kind is not Kind.OBJECT]),
            st.lists(st.none() | servers_text, min_size=3, max_size=3),
        ),
        min_size=4,
        max_size=4,
    )
)
def test_every_row_of_a_servers_text_is_kept_and_counted(
    columns: list[tuple[Kind, list[str | None]]],
) -> None:
    binary = (Kind.BYTES, Kind.BITS)
    known = [
        Column(
            kind, pl.Series([None if v is None else v.encode() for v in values], dtype=pl.Binary)
        )
        if kind in binary
        else Column(kind, pl.Series(values, dtype=pl.String))
        for kind, values in columns
    ]
    names = ["artifact_id", "label", "file_hash", "other"]
    with quick():
        found = frame(list(label_batches(Rows(names, (lambda: known for _ in "x")))))
        check_snapshot(found, 3)
        check_ledger(found)


@examples(30)
@given(NAMES, st.data())
def test_columns_of_any_name_are_taken_or_refused_in_words(
    names: list[str], data: st.DataObject
) -> None:
    one = st.tuples(*(st.sampled_from(["a", 1, None]) for _ in names))
    rows = data.draw(st.lists(one, min_size=1, max_size=3))
    batches = iter([of_objects(by_column(rows))])
    try:
        found = frame(list(label_batches(Rows(names, (one for one in batches)))))
    except DataError as error:
        assert all((error.fault.what, error.fault.where, error.fault.remedy))  # noqa: PT017
        return
    check_snapshot(found, len(rows))
    others = len(names) - sum(
        name.lower() in ("artifact_id", "label", "file_hash") for name in names
    )
    assert all(len(json.loads(row)) == others for row in found["row"])


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("column", range(4))
def test_an_odd_value_in_each_column(value: Any, column: int) -> None:
    rows = [("a", "cat", None, 1), tuple(value if n == column else "b" for n in range(4))]
    names = ["artifact_id", "label", "file_hash", "other"]
    with quick():
        batches = iter([of_objects(by_column(rows))])
        found = frame(list(label_batches(Rows(names, (one for one in batches)))))
        check_snapshot(found, 2)
        check_ledger(found)
