"""Where in a key the artifact id could stand, for patterns that leave it open.

An id lies within one segment of a key. So keys are cut at their slashes, and the segments that may
hold the id at the literal text beside it; what is left of the id and what is right of it must then
fit the rest of the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from handful.settings.key_patterns import Kind, Part
from handful.steps.reconcile.key_regex import group, regex_of

Keep = Callable[[pl.DataFrame], pl.DataFrame]
"""Chooses among ways (text, place, start, id): the fewer, the less work comes after."""
CUT = ["head", "tail", "place", "start"]
"""What `cuts` says of a way: the text on both sides of the id, its segment, its place therein."""


def is_fixed(parts: Sequence[Part], at: int) -> bool:
    """Can the id at this place among the parts stand at one place of a key only?"""
    before, after = parts[:at], parts[at + 1 :]
    counted = not any(part.spans for part in before) or not any(part.spans for part in after)
    return counted and _left(parts, at)[0] and _right(parts, at)[0]


def cuts(
    texts: pl.DataFrame, column: str, parts: Sequence[Part], at: int, keep: Keep
) -> pl.DataFrame:
    """Every place where the id of `parts[at]` could stand in the texts of `column`.

    The rows of `texts`, each once for every way, with the columns `id` and `CUT`. Whether head and
    tail fit the parts is not looked at.
    """
    split = texts.with_row_index("text").with_columns(segments=pl.col(column).str.split("/"))
    count = pl.col("segments").list.len().cast(pl.Int64)
    every = split.select("text", "segments", place=pl.int_ranges(0, count), count=count)
    rows = every.explode("segments", "place").filter(_may_hold(parts, at))
    ways = list(_inside(rows.rename({"segments": "segment"}), parts, at))
    kept = keep(pl.concat(ways)) if ways else None
    if kept is None:
        none = {"id": pl.String, "head": pl.String, "tail": pl.String}
        return texts.clear().with_columns(
            *(pl.lit("", kind).alias(name) for name, kind in none.items()),
            place=pl.lit(0, pl.Int64),
            start=pl.lit(0, pl.UInt32),
        )
    whole = kept.join(split, on="text")
    before, after = pl.col("place"), pl.col("segments").list.len() - pl.col("place") - 1
    first = pl.col("segments").list.head(before).list.join("/")
    rest = pl.col("segments").list.tail(after).list.join("/")
    return whole.select(
        *texts.columns,
        "id",
        "place",
        "start",
        head=pl.when(before > 0).then(first + "/").otherwise(pl.lit("")) + pl.col("left"),
        tail=pl.col("right") + pl.when(after > 0).then("/" + rest).otherwise(pl.lit("")),
    )


def fitted(texts: pl.DataFrame, column: str, parts: Sequence[Part]) -> pl.DataFrame:
    """The rows whose text fits `parts`, with a column for each part that is a group.

    An id among the parts must equal the column `artifact_id`.
    """
    at = next((n for n, part in enumerate(parts) if part.kind is Kind.ID), None)
    if at is None:
        return _without_id(texts, column, parts)
    row = f"row_{len(parts)}"  # an inner call has fewer
    numbered = texts.with_row_index(row)
    ids = numbered.select("artifact_id").with_row_index("text")
    ways = cuts(
        numbered.select(row, "artifact_id", rest=column),
        "rest",
        parts,
        at,
        lambda ways: ways.join(ids, left_on=["text", "id"], right_on=["text", "artifact_id"]),
    )
    fit = fitted(fitted(ways, "head", parts[:at]), "tail", parts[at + 1 :])
    last = fit.sort(row, "place", "start", descending=[False, True, True])
    one = last.unique(row, keep="first", maintain_order=True)
    return numbered.join(one.drop("artifact_id", "rest", "id", *CUT), on=row).drop(row)


def _without_id(texts: pl.DataFrame, column: str, parts: Sequence[Part]) -> pl.DataFrame:
    if not parts:
        return texts.filter(pl.col(column) == "")
    regex = regex_of(parts)
    fit = texts.filter(pl.col(column).str.contains(regex))
    named = [group(part) for part in parts if part.kind in (Kind.FILE, Kind.NAME)]
    if not named:
        return fit
    found = fit.with_columns(found=pl.col(column).str.extract_groups(regex))
    fields = [pl.col("found").struct.field(name) for name in named]
    return found.with_columns(*fields).drop("found")


def _may_hold(parts: Sequence[Part], at: int) -> pl.Expr:
    """Which of a text's segments may hold the id, by what stands before and behind it?"""
    before, after = parts[:at], parts[at + 1 :]
    left, right = _slashes(before), _slashes(after)
    place, behind = pl.col("place"), pl.col("count") - pl.col("place") - 1
    here = place >= left if any(part.spans for part in before) else place == left
    return here & (behind >= right if any(part.spans for part in after) else behind == right)


def _slashes(parts: Sequence[Part]) -> int:
    """How many there are at least."""
    return sum(part.text.count("/") for part in parts if part.kind is Kind.LITERAL)


def _inside(rows: pl.DataFrame, parts: Sequence[Part], at: int) -> Iterator[pl.DataFrame]:
    """text, place, start, left, id, right: every way to cut a segment around the id."""
    from_start, before = _left(parts, at)
    to_end, after = _right(parts, at)
    segment = pl.col("segment")
    if from_start:
        fit = rows.filter(segment.str.starts_with(before))
        begun = [fit.with_columns(left=pl.lit(before), rest=segment.str.strip_prefix(before))]
    else:
        begun = [
            one.with_columns(left=pl.col("first") + before, rest=pl.col("second"))
            for one in _occurrences(rows, "segment", before)
        ]
    for one in begun:
        rest = pl.col("rest")
        if to_end:
            fit = one.filter(rest.str.ends_with(after))
            ended = [fit.with_columns(id=rest.str.strip_suffix(after), right=pl.lit(after))]
        else:
            ended = [
                found.with_columns(id=pl.col("first"), right=after + pl.col("second"))
                for found in _occurrences(one, "rest", after)
            ]
        for way in ended:
            start = pl.col("left").str.len_bytes()
            named = way.with_columns(start=start).filter(pl.col("id") != "")
            yield named.select("text", "place", "start", "left", "id", "right")


def _occurrences(rows: pl.DataFrame, column: str, text: str) -> Iterator[pl.DataFrame]:
    """Every place of `text`, one after the other: what is `first`, before it, and `second`."""
    rest = rows.with_columns(done=pl.lit(""), undone=pl.col(column))
    step, tail = text[0], text[1:]
    while rest.height:
        halves = pl.col("undone").str.splitn(text, 2).struct
        found = rest.with_columns(
            first=pl.col("done") + halves.field("field_0"), second=halves.field("field_1")
        ).filter(pl.col("second").is_not_null())
        yield found.drop("done", "undone")
        # The next place may overlap this one (`__` in `a___b`): go on one letter further.
        rest = found.with_columns(done=pl.col("first") + step, undone=tail + pl.col("second"))


def _left(parts: Sequence[Part], at: int) -> tuple[bool, str]:
    """The literal text before the id in its segment, and whether the segment begins with it."""
    before = parts[at - 1] if at else None
    if before is None or before.kind is Kind.FOLDERS:
        return True, ""
    _, slash, text = before.text.rpartition("/")
    return bool(slash) or at == 1 or parts[at - 2].kind is Kind.FOLDERS, text


def _right(parts: Sequence[Part], at: int) -> tuple[bool, str]:
    """The literal text behind the id in its segment, and whether the segment ends with it."""
    if at + 1 == len(parts):
        return True, ""
    text, slash, _ = parts[at + 1].text.partition("/")
    return bool(slash) or at + 2 == len(parts), text
