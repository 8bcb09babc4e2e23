"""Ids that are spelled differently: GUIDs in one form, and hints where ids would match."""

from __future__ import annotations

import base64
import itertools
import unicodedata
import uuid
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.records import Fate
from handful.steps.reconcile.keys.guids import guid_of, guids, normalize_guid, normalize_guid_ids
from handful.steps.reconcile.keys.id_hints import ORDERS, Hint, hints

ID = uuid.UUID("8f14e45f-ceea-467f-ab1c-0123456789ab")
SPELLINGS: dict[str, Callable[[uuid.UUID], str]] = {
    "usual": str,
    "upper case": lambda one: str(one).upper(),
    "mixed case": lambda one: str(one)[:18].upper() + str(one)[18:],
    "no dashes": lambda one: one.hex,
    "no dashes, upper case": lambda one: one.hex.upper(),
    "braces": lambda one: f"{{{one}}}",
    "braces, upper case": lambda one: f"{{{str(one).upper()}}}",
    "braces, no dashes": lambda one: f"{{{one.hex}}}",
    "parentheses": lambda one: f"({one})",
    "urn": lambda one: one.urn,
    "urn, upper case": lambda one: one.urn.upper(),
    "uuid:": lambda one: f"uuid:{one}",
    "blanks around": lambda one: f"  {one} ",
    "a line break behind": lambda one: f"{one}\r\n",
    "a no-break space before": lambda one: f"\u00a0{one}",
    "a byte order mark before": lambda one: f"\ufeff{one}",
    "0x": lambda one: f"0x{one.hex.upper()}",
    "PostgreSQL's bytea as text": lambda one: f"\\x{one.hex}",
}
NO_GUIDS = [
    "",
    " ",
    "a-name",
    "007",
    str(ID)[:-1],
    f"{ID}0",
    ID.hex[:-1],
    f"{ID.hex}0",
    f"{{{ID}",
    f"{ID}}}",
    f"({ID}}}",
    f"{{{ID})",
    f"{ID}\n{ID}",
    f"{ID}.pdf",
    f"x{ID}",
    str(ID).replace("-", "_"),
    str(ID).replace("8", "g"),
    str(ID).replace("8", "\uff18"),  # a full-width digit
    str(ID)[:9] + "-" + str(ID)[9:],
    base64.b64encode(ID.bytes).decode(),
]


def column(*ids: str | None) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids)}, {"id": pl.String})


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_guid_has_one_form(spelling: str) -> None:
    text = SPELLINGS[spelling](ID)
    assert guid_of(text) == normalize_guid(text) == str(ID)
    assert column(text).select(guids(pl.col("id"))).item() == str(ID)


@pytest.mark.parametrize("text", NO_GUIDS)
def test_what_is_no_guid_stays_to_the_letter(text: str) -> None:
    assert guid_of(text) is None
    assert normalize_guid(text) == text
    assert column(text).select(guids(pl.col("id"))).item() is None
    assert column(text).select(normalize_guid_ids(pl.col("id"))).item() == text


def test_a_column_of_all_kinds_keeps_its_order_and_its_nulls() -> None:
    ids = [None, str(ID), *NO_GUIDS, *(spell(ID) for spell in SPELLINGS.values()), None]
    found = column(*ids).select(normalize_guid_ids(pl.col("id")))["id"].to_list()
    assert found == [one if one is None else normalize_guid(one) for one in ids]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.uuids(), st.sampled_from(sorted(SPELLINGS)))))
def test_any_guid_in_any_spelling_is_what_pythons_uuid_says(
    some: list[tuple[uuid.UUID, str]],
) -> None:
    ids = [SPELLINGS[spelling](one) for one, spelling in some]
    found = column(*ids).select(guids(pl.col("id")))["id"].to_list()
    assert found == [str(one) for one, _ in some] == [guid_of(text) for text in ids]


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("0123456789abcdefABCDEF-{}()urn:id0x\\ \n"), max_size=48))
def test_text_is_read_alike_one_by_one_and_as_a_column(text: str) -> None:
    found = guid_of(text)
    assert column(text).select(guids(pl.col("id"))).item() == found
    if found is not None:
        assert uuid.UUID(text.lower().replace("0x", "", 1).strip("\\x() \n")) == uuid.UUID(found)


# --- hints: ids that would match ------------------------------------------------------------------


def ledger(label_ids: list[str], key_ids: list[str], fate: Fate = Fate.NO_FILES) -> pl.DataFrame:
    """As matching leaves it: label rows without files, then artifacts without a label row."""
    rows = [(one, "query", fate.value) for one in label_ids]
    rows += [(one, None, Fate.NO_LABEL_ROW.value) for one in key_ids]
    schema = {"artifact_id": pl.String, "label_source": pl.String, "fate": pl.String}
    return pl.DataFrame(rows, schema, orient="row")


def only(found: list[Hint]) -> Hint:
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(SPELLINGS, 2)])
def test_every_pair_of_spellings_is_found(one: str, other: str) -> None:
    hint = only(hints(ledger([SPELLINGS[one](ID)], [SPELLINGS[other](ID)]), "sqlite"))
    assert hint.rows == 1
    assert "ID_FORMAT = guid" in hint.remedy
    assert (hint.id, hint.key_id) == (SPELLINGS[one](ID), SPELLINGS[other](ID))


def test_an_id_that_is_no_safe_folder_is_among_them() -> None:
    label = SPELLINGS["PostgreSQL's bytea as text"](ID)
    hint = only(hints(ledger([label], [str(ID)], Fate.UNSAFE_NAME), "postgresql"))
    assert (hint.id, hint.key_id) == (label, str(ID))


def reordered(one: uuid.UUID, name: str) -> bytes:
    return bytes(one.bytes[byte] for byte in ORDERS[name])


def bytes_as_labels(value: bytes) -> str:
    from handful.labels.values import as_text

    found = as_text(value)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ORDERS)
def test_bytes_in_another_order_are_found_and_named(name: str) -> None:
    some = [uuid.uuid5(ID, str(number)) for number in range(40)]
    keys = [str(uuid.UUID(bytes=reordered(one, name))) for one in some]
    hint = only(hints(ledger([bytes_as_labels(one.bytes) for one in some], keys), "sqlite"))
    assert hint.rows == 40
    assert name in hint.words
    assert "SUBSTR(" in hint.remedy


def test_dotnets_and_mysqls_orders_are_those_of_their_makers() -> None:
    """.NET: uuid.bytes_le. MySQL's manual: UUID_TO_BIN('6ccd780c-baba-1026-9564-5b8c656024db', 1)
    is 1026BABA6CCD780C95645B8C656024DB."""
    one = uuid.UUID("6ccd780c-baba-1026-9564-5b8c656024db")
    swapped = bytes.fromhex("1026BABA6CCD780C95645B8C656024DB")
    for held, name in ((one.bytes_le, ".NET's"), (swapped, "MySQL's UUID_TO_BIN(id, 1)")):
        hint = only(hints(ledger([bytes_as_labels(held)], [str(one)]), "mysql"))
        assert name in hint.words


def base64_of(data: bytes, *, url: bool, padded: bool) -> str:
    text = (base64.urlsafe_b64encode if url else base64.b64encode)(data).decode()
    return text if padded else text.rstrip("=")


@pytest.mark.parametrize("url", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("little", [True, False], ids=["dotnet", "network"])
@pytest.mark.parametrize("in_keys", [True, False])
def test_base64_of_a_guids_bytes_is_found(
    url: bool, padded: bool, little: bool, in_keys: bool
) -> None:
    one = uuid.UUID("fbf0ffff-ceea-467f-ab1c-fbefbe3456ff")
    short = base64_of(one.bytes_le if little else one.bytes, url=url, padded=padded)
    sides = ([str(one)], [short]) if in_keys else ([short], [str(one)])
    hint = only(hints(ledger(*sides), "sqlite"))
    assert "base64" in hint.words
    assert (".NET" in hint.words) == little
    assert f"in the {'keys' if in_keys else 'label rows'}" in hint.words


def test_a_word_of_22_letters_is_no_hint() -> None:
    assert hints(ledger(["abcdefghijklmnopqrstuv"], [str(ID)]), "sqlite") == []


NUMBERS = ["7", "007", "00000007", " 7", "7.0"]


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(NUMBERS, 2)])
def test_every_pair_of_spellings_of_a_number_is_found(one: str, other: str) -> None:
    hint = only(hints(ledger([one], [other]), "sqlite"))
    assert (hint.rows, hint.id, hint.key_id) == (1, one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("7", "8"), ("7", "70"), ("70", "7"), ("7", "7a"), ("0", "7"), ("-7", "7")]
)
def test_other_numbers_are_no_hint(one: str, other: str) -> None:
    assert hints(ledger([one], [other]), "sqlite") == []


LOOKALIKES = [
    "\u00e9tude",
    unicodedata.normalize("NFD", "\u00e9tude"),
    "\u00c9tude",
    "\u00e9tude ",
    " \u00e9TUDE",
]


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(LOOKALIKES, 2)])
def test_case_blanks_and_unicode_form_are_found(one: str, other: str) -> None:
    hint = only(hints(ledger([one], [other]), "postgresql"))
    assert "only in case, spaces or Unicode form" in hint.words


def test_each_row_counts_once_and_the_most_come_first() -> None:
    others = [uuid.uuid5(ID, str(number)) for number in range(5)]
    rows = ledger(
        [*(str(one).upper() for one in others), str(others[0]).upper(), "7", "8", "nobody"],
        [*map(str, others), "007", "008", "someone"],
    )
    found = hints(rows, "postgresql")
    assert [(hint.rows, hint.id) for hint in found] == [
        (6, min(map(str, others)).upper()),
        (2, "7"),
    ]
    assert str(found[0]).startswith("6 label rows without files would find them")


@pytest.mark.parametrize("fate", [Fate.KEPT, Fate.NO_LABEL, Fate.CONFLICT, Fate.MISSING_FILES])
def test_only_what_is_left_over_is_looked_at(fate: Fate) -> None:
    assert hints(ledger([str(ID).upper()], [str(ID)], fate), "sqlite") == []


# --- the SQL that is told, on real servers --------------------------------------------------------

Told = tuple[str, list[Any], list[str], list[str]]
"""The column's type, its values, what handful makes of them, and the ids of the keys."""


def cases(bytes_type: str) -> dict[str, Told]:
    some = [uuid.uuid5(ID, str(number)) for number in range(30)]
    usual = [str(one) for one in some]
    dotnet = [one.bytes_le for one in some]
    mysql = [b[6:8] + b[4:6] + b[:4] + b[8:] for b in (one.bytes for one in some)]
    numbers = [1, 22, 123456, 9999999]
    plain, wide = [str(n) for n in numbers], [f"{n:09}" for n in numbers]
    padded = [f"{n:08}" for n in numbers]

    def text(ids: list[str], keys: list[str]) -> Told:
        return "VARCHAR(40)", list(ids), ids, keys

    def binary(values: list[bytes]) -> Told:
        return bytes_type, list(values), [bytes_as_labels(value) for value in values], usual

    def usual_form(values: list[bytes]) -> list[str]:
        return [str(uuid.UUID(bytes=value)) for value in values]

    return {
        "pad": ("INTEGER", list(numbers), plain, padded),
        "pad text": text(plain, padded),
        "pad to another width": text(wide, padded),
        "strip": text(wide, plain),
        "lower": text(["Ab-1", "aB-2"], ["ab-1", "ab-2"]),
        "upper and trim": text([" ab-1", "aB-2"], ["AB-1", "AB-2"]),
        ".NET's bytes": binary(dotnet),
        ".NET's order as text": text(usual_form(dotnet), usual),
        ".NET's order in the keys": text(usual, usual_form(dotnet)),
        "MySQL's bytes": binary(mysql),
        "MySQL's order as text": text(usual_form(mysql), usual),
        "MySQL's order in the keys": text(usual, usual_form(mysql)),
    }


def check(backend: str, told: Told, run: Callable[[str, str, list[Any]], list[Any]]) -> None:
    """The expression that is told makes of the column what the keys have."""
    kind, values, labels, keys = told
    hint = only(hints(ledger(labels, keys), backend))
    assert hint.rows == len(values)
    sql = hint.remedy.partition("your column for id: ")[2].partition(" AS artifact_id")[0]
    assert sql, hint.remedy
    assert sorted(map(str, run(kind, sql, values))) == sorted(keys)


@pytest.mark.parametrize("name", cases(""))
def test_sqlites_sql_does_it(name: str) -> None:
    import sqlite3

    def run(kind: str, sql: str, values: list[Any]) -> list[Any]:
        with sqlite3.connect(":memory:") as connection:
            connection.execute(f"CREATE TABLE t (id {kind})")
            connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
            return [row[0] for row in connection.execute(f"SELECT {sql} AS artifact_id FROM t")]

    check("sqlite", cases("BLOB")[name], run)


@pytest.mark.parametrize("name", cases(""))
def test_duckdbs_sql_does_it(name: str) -> None:
    import duckdb

    def run(kind: str, sql: str, values: list[Any]) -> list[Any]:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"CREATE TABLE t (id {kind})")
            connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
            found = connection.execute(f"SELECT {sql} AS artifact_id FROM t").fetchall()
            return [row[0] for row in found]

    check("duckdb", cases("BLOB")[name], run)


@pytest.mark.parametrize("name", cases(""))
def test_postgresqls_sql_does_it(name: str, postgres: str) -> None:
    import sqlalchemy as sa

    def run(kind: str, sql: str, values: list[Any]) -> list[Any]:
        engine = sa.create_engine(postgres)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE TEMPORARY TABLE t (id {kind})")
                for value in values:
                    connection.exec_driver_sql("INSERT INTO t VALUES (%s)", (value,))
                found = connection.exec_driver_sql(f"SELECT {sql} AS artifact_id FROM t")
                return [row[0] for row in found]
        finally:
            engine.dispose()

    check("postgresql", cases("BYTEA")[name], run)


@pytest.mark.parametrize("name", cases(""))
def test_mariadbs_sql_does_it(name: str, request: pytest.FixtureRequest) -> None:
    import pymysql
    from sqlalchemy import make_url

    url = make_url(request.getfixturevalue("mariadb"))

    def run(kind: str, sql: str, values: list[Any]) -> list[Any]:
        with (
            pymysql.connect(
                host=url.host,
                port=url.port or 3306,
                user=url.username,
                password=url.password or "",
                database=url.database,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"CREATE TABLE t (id {kind})")
            cursor.executemany("INSERT INTO t VALUES (%s)", [(value,) for value in values])
            cursor.execute(f"SELECT {sql} AS artifact_id FROM t")
            return [row[0] for row in cursor.fetchall()]

    check("mysql", cases("BINARY(16)")[name], run)


@pytest.mark.parametrize("name", cases(""))
def test_firebirds_sql_does_it(name: str, request: pytest.FixtureRequest) -> None:
    from firebird.driver import connect
    from sqlalchemy import make_url

    url = make_url(request.getfixturevalue("firebird"))

    def run(kind: str, sql: str, values: list[Any]) -> list[Any]:
        place = f"{url.host}/{url.port}:{url.database}"
        with connect(place, user=url.username, password=url.password, charset="UTF8") as connection:
            cursor = connection.cursor()
            cursor.execute(f"CREATE TABLE t (id {kind})")
            connection.commit()
            for value in values:
                cursor.execute("INSERT INTO t VALUES (?)", (value,))
            connection.commit()
            cursor.execute(f"SELECT {sql} AS artifact_id FROM t")
            return [row[0] for row in cursor.fetchall()]

    check("firebird", cases("CHAR(16) CHARACTER SET OCTETS")[name], run)
