"""How LABEL_QUERY would write an id, in the SQL of the database: told, never run.

`id` stands for the column. Each expression was run on a real server of its dialect, but for those
of SQL Server and Oracle, which follow their manuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DASHES = (4, 6, 8, 10)
"""The bytes of a GUID before which its usual form has a dash."""


@dataclass(frozen=True)
class Dialect:
    """What differs between databases; `{0}` is the id, or a text."""

    text: str = "{0}"
    """The column as text."""
    hex_of_bytes: str = "HEX({0})"
    part: str = "SUBSTR({0}, {1}, {2})"
    joined: tuple[str, str, str] = ("", " || ", "")
    """What stands before, between and after parts that become one text."""
    padded: str = "LPAD({0}, GREATEST({1}, LENGTH({0})), '0')"
    """With zeros, and never cut: a longer number would become another one."""
    number: str = "CAST({0} AS BIGINT)"
    trimmed: str = "TRIM({0})"
    composed: str = ""
    """Unicode's form NFC; empty where the database cannot."""

    def concat(self, parts: Sequence[str]) -> str:
        before, between, after = self.joined
        return before + between.join(parts) + after


_CONCAT = ("CONCAT(", ", ", ")")
_MYSQL_ID_DIALECT = Dialect(
    joined=_CONCAT,
    padded="LPAD({0}, GREATEST({1}, CHAR_LENGTH({0})), '0')",
    number="CAST({0} AS UNSIGNED)",
)
_POSTGRESQL = Dialect(
    text="{0}::text", hex_of_bytes="encode({0}, 'hex')", composed="normalize({0}, NFC)"
)
_ID_SQL_DIALECTS = {
    "postgresql": _POSTGRESQL,
    "cockroachdb": _POSTGRESQL,
    "redshift": _POSTGRESQL,
    "mysql": _MYSQL_ID_DIALECT,
    "mariadb": _MYSQL_ID_DIALECT,
    "sqlite": Dialect(padded="printf('%0{1}d', {0})", number="CAST({0} AS INTEGER)", composed=""),
    "duckdb": Dialect(
        text="{0}::VARCHAR",
        padded="printf('%0{1}d', CAST({0} AS BIGINT))",
        composed="nfc_normalize({0})",
    ),
    "firebird": Dialect(
        text="CAST({0} AS VARCHAR(255))",
        hex_of_bytes="REPLACE(UUID_TO_CHAR({0}), '-', '')",
        part="SUBSTRING({0} FROM {1} FOR {2})",
        padded="LPAD({0}, MAXVALUE({1}, CHAR_LENGTH({0})), '0')",
    ),
    "mssql": Dialect(
        text="CAST({0} AS varchar(255))",
        hex_of_bytes="CONVERT(char(32), {0}, 2)",
        part="SUBSTRING({0}, {1}, {2})",
        joined=_CONCAT,
        padded="FORMAT(CAST({0} AS bigint), REPLICATE('0', {1}))",
    ),
    "oracle": Dialect(text="TO_CHAR({0})", hex_of_bytes="RAWTOHEX({0})", number="TO_NUMBER({0})"),
}


def dialect(name: str) -> Dialect:
    """By the name that SQLAlchemy gives it; standard SQL for one that is not known."""
    return _ID_SQL_DIALECTS.get(name, Dialect(text="CAST({0} AS VARCHAR(255))"))


def pad_number_sql(sql: Dialect, width: int, *, has_zeros: bool) -> str:
    """A number with zeros before it, `width` digits at least; `has_zeros`: it may have some."""
    plain = sql.text.format(number(sql) if has_zeros else "id")
    return sql.padded.format(plain, width)


def number(sql: Dialect) -> str:
    """A number without zeros before it."""
    return sql.number.format("id")


def folded(sql: Dialect, *, case: str, trim: bool, compose: bool) -> str:
    """In one case ("LOWER", "UPPER" or ""), without blanks around, in one Unicode form.

    Empty, if the database has no function for it.
    """
    found = sql.text.format("id")
    if compose:
        if not sql.composed:
            return ""
        found = sql.composed.format(found)
    if trim:
        found = sql.trimmed.format(found)
    return f"{case}({found})" if case else found


def reorder_guid_sql(sql: Dialect, order: Sequence[int], *, of_bytes: bool) -> str:
    """A GUID's usual form from the bytes `order` of what the column holds.

    `of_bytes`: the column holds 16 bytes, else hexadecimal digits, perhaps with dashes.
    """
    if of_bytes:
        digits = sql.hex_of_bytes.format("id")
    else:
        digits = f"REPLACE({sql.text.format('id')}, '-', '')"
    parts = []
    for start, length in runs(order):
        if start is None:
            parts.append("'-'")
        else:
            parts.append(sql.part.format(digits, 2 * start + 1, 2 * length))
    return f"LOWER({sql.concat(parts)})"


def runs(order: Sequence[int]) -> list[tuple[int | None, int]]:
    """Neighbouring bytes together: (first byte, how many); (None, 0) is a dash."""
    runs: list[tuple[int | None, int]] = []
    for place, byte in enumerate(order):
        if place in DASHES:
            runs.append((None, 0))
        start, length = runs[-1] if runs else (None, 0)
        if start is not None and start + length == byte:
            runs[-1] = (start, length + 1)
        else:
            runs.append((byte, 1))
    return runs
