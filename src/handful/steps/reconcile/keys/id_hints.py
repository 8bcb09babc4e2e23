"""Ids that would match if they were written alike: counted, shown, and told how to bring together.

Only what matching left over is looked at: label rows without files, and artifacts without a label
row. A row counts for the first of these that finds its artifact:

    a GUID in another spelling       (see `id_format`)                   ID_FORMAT = guid
    case, blanks or Unicode form                                         SQL
    zeros before a number, `.0`      007, 7, 7.0                         SQL
    a GUID in another byte order     .NET's, or MySQL's UUID_TO_BIN(x, 1)  SQL
    16 bytes of a GUID as base64     22 letters or 24, either alphabet   words

An order of bytes is found by what it would match, over all ids; nothing is matched by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from handful.records import Fate
from handful.steps.reconcile.keys import id_sql
from handful.steps.reconcile.keys.guids import guids
from handful.steps.reconcile.keys.id_format import ORIGINAL_ID
from handful.steps.reconcile.keys.names import id_fault, quote_names

_REST = tuple(range(8, 16))
ORDERS = {
    ".NET's": (3, 2, 1, 0, 5, 4, 7, 6, *_REST),
    "MySQL's UUID_TO_BIN(id, 1)": (4, 5, 6, 7, 2, 3, 0, 1, *_REST),
    "that of MySQL's UUID_TO_BIN(id, 1) in the keys": (6, 7, 4, 5, 0, 1, 2, 3, *_REST),
}
"""Byte orders: which byte of the database's id stands where in the id of the keys."""
_NETWORK = tuple(range(16))
_BASE64_LETTERS = r"^[A-Za-z0-9+/_-]{22}(?:==)?$"
_NON_ASCII_ID = r"[^\x00-\x7f]"
_NUMBER_ID_REGEX = r"^0*(\d+?)(?:\.0*)?$"
_MOST_DIGITS = 18
_GUID_ONLY = "[production] ID_FORMAT = guid"


@dataclass(frozen=True)
class Hint:
    """Label rows that would find files."""

    rows: int
    id: str
    """An id of the label rows, as they write it."""
    key_id: str
    """The same id, as the keys write it."""
    words: str
    """How the two differ."""
    remedy: str

    def __str__(self) -> str:
        rows = "1 label row" if self.rows == 1 else f"{self.rows:,} label rows"
        return (
            f"{rows} without files would find them, for the ids {self.words}: "
            f"{quote_names([self.id])} "
            f"in the label rows, {quote_names([self.key_id])} in the keys"
        )


def hints(rows: pl.DataFrame, backend: str) -> list[Hint]:
    """What would match more of the ledger's `rows`; the most rows first.

    `backend`: SQLAlchemy's name of the database.
    """
    if not rows["label_source"].null_count():
        return []  # every artifact has its label row
    if ORIGINAL_ID in rows.columns:
        rows = rows.with_columns(artifact_id=ORIGINAL_ID)
    ids, keys = _find_unmatched_ids(rows)
    sql = id_sql.dialect(backend)
    found, ids, keys = _find_id_hints(_spellings(sql), ids, keys)
    found += _find_id_hints(_byte_orders(sql), *_with_equal_ends(ids, keys))[0]
    return sorted(found, key=lambda hint: -hint.rows)


def _find_id_hints(
    kinds: Iterable[_Kind], ids: pl.DataFrame, keys: pl.DataFrame
) -> tuple[list[Hint], pl.DataFrame, pl.DataFrame]:
    """A hint for each kind that matches something, and what is left after all of them."""
    found = []
    for kind in kinds:
        if ids.is_empty() or keys.is_empty():
            break
        pairs = kind.pairs(ids, keys)
        if pairs.is_empty():
            continue
        first = pairs.filter(pl.col("artifact_id") == pl.col("artifact_id").min()).to_dicts()[0]
        told = (first["artifact_id"], first["key_id"])
        found.append(Hint(int(pairs["rows"].sum()), *told, kind.words, kind.remedy(pairs)))
        ids = ids.join(pairs, on="artifact_id", how="anti")
        keys = keys.join(pairs, on="key_id", how="anti")
    return found, ids, keys


def _with_equal_ends(ids: pl.DataFrame, keys: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Those whose last 8 bytes the other side has, too: every order leaves them where they are."""
    ends = [
        pl.concat([_GUIDS.of(table, column), _BASE64.of(table, column)]).with_columns(
            form=pl.col("form").str.slice(19)
        )
        for table, column in ((ids, "artifact_id"), (keys, "key_id"))
    ]
    some = ends[0].join(ends[1], on="form", how="semi")
    return some.drop("form"), ends[1].join(some, on="form", how="semi").drop("form")


def _find_unmatched_ids(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """artifact_id, rows: of label rows without files; key_id: of artifacts without label row.

    Both with `guid`, the form of what is a GUID.
    """
    is_row, artifact_id = pl.col("label_source").is_not_null(), pl.col("artifact_id")
    without = rows.filter(is_row & (pl.col("fate") == Fate.NO_FILES.value)).select("artifact_id")
    unsafe = rows.filter(is_row & (pl.col("fate") == Fate.UNSAFE_NAME.value)).select("artifact_id")
    bad = unsafe.filter(artifact_id.is_not_null() & id_fault(artifact_id).is_not_null())
    ids = pl.concat([without, bad]).group_by("artifact_id").agg(rows=pl.len())
    keys = rows.filter(~is_row).select(key_id="artifact_id")
    if ids.is_empty() or keys.is_empty():
        ids, keys = ids.clear(), keys.clear()  # nothing can be found; so nothing is looked at
    guid = guids(pl.col("key_id"))
    return ids.with_columns(guid=guids(artifact_id)), keys.with_columns(guid=guid)


@dataclass(frozen=True)
class Form:
    """What ids are compared by. There may be millions: most are ruled out before it is made."""

    applies: Callable[[pl.Expr], pl.Expr] | None
    made: Callable[[pl.Expr], pl.Expr]
    """Null where it does not apply after all."""

    def of(self, table: pl.DataFrame, column: str) -> pl.DataFrame:
        """The rows of `table` that have one, with the column `form`."""
        ids = pl.col(column)
        some = table.filter(self.applies(ids)) if self.applies else table
        return some.with_columns(form=self.made(ids)).drop_nulls("form")


@dataclass(frozen=True)
class _Kind:
    """One way in which ids differ."""

    words: str
    form: Form
    """Of the ids of label rows."""
    key_form: Form
    remedy: Callable[[pl.DataFrame], str]

    def pairs(self, ids: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
        """artifact_id, rows, key_id: those whose forms are equal, an id of the label rows once."""
        formed = self.form.of(ids, "artifact_id")
        key_formed = self.key_form.of(keys, "key_id") if formed.height else keys.clear()
        if key_formed.is_empty():
            return pl.DataFrame(schema={"artifact_id": pl.String})
        once = key_formed.group_by("form").agg(pl.col("key_id").min())
        return formed.join(once, on="form").select("artifact_id", "rows", "key_id")


def _spellings(sql: id_sql.Dialect) -> Iterator[_Kind]:
    yield _Kind("are GUIDs in two spellings", _GUIDS, _GUIDS, lambda _: f"set {_GUID_ONLY}")
    folded = "differ only in case, spaces or Unicode form"
    yield _Kind(folded, _FOLDED, _FOLDED, partial(_build_id_fold_sql, sql))
    zeros = "are numbers that differ only in their zeros"
    yield _Kind(zeros, _NUMBER_ID_FORM, _NUMBER_ID_FORM, partial(_number_sql, sql))


def _byte_orders(sql: id_sql.Dialect) -> Iterator[_Kind]:
    for name, order in ORDERS.items():
        yield _Kind(
            f"are GUIDs whose bytes stand in another order ({name})",
            _reorder_id_bytes(_GUIDS, order),
            _GUIDS,
            partial(_order_sql, sql, order),
        )
    for words, order in (("", _NETWORK), (" in .NET's order", ORDERS[".NET's"])):
        for side, forms in (("label rows", (_BASE64, _GUIDS)), ("keys", (_GUIDS, _BASE64))):
            yield _Kind(
                f"are GUIDs, in the {side} as base64 of their 16 bytes{words}",
                _reorder_id_bytes(forms[0], order),
                forms[1],
                lambda _: "write both in one way, in LABEL_QUERY, by the database's own functions",
            )


def _reorder_id_bytes(form: Form, order: Sequence[int]) -> Form:
    """Of the GUID whose bytes are those of `form` in this order."""

    def made(ids: pl.Expr) -> pl.Expr:
        digits = form.made(ids).str.replace_all("-", "", literal=True)
        parts = [
            pl.lit("-") if start is None else digits.str.slice(2 * start, 2 * length)
            for start, length in id_sql.runs(order)
        ]
        return pl.concat_str(parts)

    return form if tuple(order) == _NETWORK else Form(form.applies, made)


def _fold_id_case(ids: pl.Expr) -> pl.Expr:
    plain = ids.str.strip_chars().str.to_lowercase()
    composed = ids.str.strip_chars().str.normalize("NFC").str.to_lowercase()
    return pl.when(ids.str.contains(_NON_ASCII_ID)).then(composed).otherwise(plain)


def _of_base64(ids: pl.Expr) -> pl.Expr:
    letters = ids.str.replace_many(["-", "_", "="], ["+", "/", ""]) + pl.lit("==")
    whole = pl.when(ids.str.contains(_BASE64_LETTERS)).then(letters)
    return guids(whole.str.decode("base64", strict=False).bin.encode("hex"))


_GUIDS = Form(lambda _: pl.col("guid").is_not_null(), lambda _: pl.col("guid"))
_FOLDED = Form(None, _fold_id_case)
_NUMBER_ID_FORM = Form(
    lambda ids: ids.str.contains(r"^\s*\d+(?:\.0*)?\s*$"),
    lambda ids: ids.str.strip_chars().str.extract(_NUMBER_ID_REGEX),
)
_BASE64 = Form(lambda ids: ids.str.len_bytes().is_in([22, 24]), _of_base64)


def _query(sql: str) -> str:
    return f"write in LABEL_QUERY, with your column for id: {sql} AS artifact_id"


def _build_id_fold_sql(sql: id_sql.Dialect, pairs: pl.DataFrame) -> str:
    keys, ids = pairs["key_id"], pairs["artifact_id"]
    bare = keys.str.strip_chars()
    lower, upper = (keys == keys.str.to_lowercase()).all(), (keys == keys.str.to_uppercase()).all()
    same_case = (ids.str.strip_chars().str.normalize("NFC") == bare.str.normalize("NFC")).all()
    case = "" if same_case else "LOWER" if lower else "UPPER" if upper else None
    composed = (ids.str.normalize("NFC") == ids).all()
    wanted = None
    if case is not None and (bare == keys).all() and (keys.str.normalize("NFC") == keys).all():
        wanted = id_sql.folded(
            sql, case=case, trim=(ids.str.strip_chars() != ids).any(), compose=not composed
        )
    if wanted:
        return _query(wanted)
    return "write the ids in LABEL_QUERY as the keys have them; no one function does it for all"


def _number_sql(sql: id_sql.Dialect, pairs: pl.DataFrame) -> str:
    ids, keys = pairs["artifact_id"], pairs["key_id"]
    numbers, widths = keys.str.extract(_NUMBER_ID_REGEX), keys.str.len_chars()
    simple = ids.str.strip_chars().str.contains(rf"^\d{{1,{_MOST_DIGITS}}}$").all()
    if simple and (keys == numbers).all():
        return _query(id_sql.number(sql))
    if simple and keys.str.contains(r"^\d+$").all() and widths.n_unique() == 1:
        has_zeros = (ids != numbers).any()
        return _query(id_sql.pad_number_sql(sql, int(widths[0]), has_zeros=has_zeros))
    return "write the numbers in LABEL_QUERY as the keys have them; no one function does it for all"


def _order_sql(sql: id_sql.Dialect, order: Sequence[int], pairs: pl.DataFrame) -> str:
    ids, keys = pairs["artifact_id"], pairs["key_id"]
    # Of bytes in another order about half look like a UUID, and get dashes: see `labels.values`.
    dashed = ids.str.contains("-", literal=True)
    of_bytes = bool(dashed.any() and not dashed.all()) or not dashed.any()
    told = _query(id_sql.reorder_guid_sql(sql, order, of_bytes=of_bytes))
    if not (dashed.any() and of_bytes):
        other = id_sql.reorder_guid_sql(sql, order, of_bytes=not of_bytes)
        told += f" (if the column holds {'text' if of_bytes else '16 bytes'}: {other})"
    usual = keys == pl.select(guids(pl.lit(keys))).to_series()
    return told if usual.all() else f"{told}, and set {_GUID_ONLY}"
