"""Where in a key the artifact id could stand, for patterns that leave it open.

An id lies within one segment of a key. So keys are cut at their slashes, and the segments that may
hold the id at the literal text beside it; what is left of the id and what is right of it must then
fit the rest of the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from handful.settings.values.key_patterns import Kind, Part
from handful.steps.reconcile.keys.key_regex import group, regex_of

Keep = Callable[[pl.DataFrame], pl.DataFrame]
"""Chooses among ways (text, place, start, id): the fewer, the less work comes after."""
_WAY = pl.Schema(
    {
        "text": pl.UInt32,
        "place": pl.Int64,
        "start": pl.UInt32,
        "left": pl.String,
        "id": pl.String,
    }
)
_WAYS_AT_ONCE, _PLACES_AT_ONCE = 200_000, 50_000
CUT = ["head", "tail", "place", "start"]
"""What `cuts` says of a way: the text on both sides of the id, its segment, its place therein."""


def is_fixed(parts: Sequence[Part], at: int) -> bool:
    """Can the id at this place among the parts stand at one place of a key only?"""
    before, after = parts[:at], parts[at + 1 :]
    counted = not any(part.spans for part in before) or not any(part.spans for part in after)
    return counted and _key_text_before_id(parts, at)[0] and _right(parts, at)[0]


def cuts(
    texts: pl.DataFrame, column: str, parts: Sequence[Part], at: int, keep: Keep
) -> pl.DataFrame:
    """Every place where the id of `parts[at]` could stand in the texts of `column`.

    The rows of `texts`, each once for every way, with the columns `id` and `CUT`. Whether head and
    tail fit the parts is not looked at.
    """
    is_first = not any("/" in part.text or part.spans for part in parts[:at])
    if is_first:  # then nothing has to be known of the other segments
        segment = pl.col(column).str.splitn("/", 2).struct.field("field_0")
        segments = texts.select(segment=segment, place=pl.lit(0, pl.Int64)).with_row_index("text")
    else:
        texts = texts.with_columns(segments=pl.col(column).str.split("/"))
        segments = _segments(texts.select("segments").with_row_index("text"), parts, at)
    kept = pl.concat(
        [keep(ways) for ways in _batch_key_cuts(_cut_key_segments(segments, parts, at))]
    )
    cut = pl.concat([texts[kept["text"]], kept.drop("text")], how="horizontal")
    before = pl.lit("")
    if not is_first:
        folders = pl.col("segments").list.head(pl.col("place")).list.join("/") + "/"
        before = pl.when(pl.col("place") > 0).then(folders).otherwise(before)
    cut = cut.with_columns(head=before + pl.col("left"))
    tail = pl.col(column).str.strip_prefix(pl.col("head") + pl.col("id"))
    return cut.with_columns(tail=tail).drop("left", *(() if is_first else ("segments",)))


def fit_key_parts(texts: pl.DataFrame, column: str, parts: Sequence[Part]) -> pl.DataFrame:
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
    fit = fit_key_parts(fit_key_parts(ways, "head", parts[:at]), "tail", parts[at + 1 :])
    last = fit.sort(row, "place", "start", descending=[False, True, True])
    one = last.unique(row, keep="first", maintain_order=True)
    return numbered.join(one.drop("artifact_id", "rest", "id", *CUT), on=row).drop(row)


def _without_id(texts: pl.DataFrame, column: str, parts: Sequence[Part]) -> pl.DataFrame:
    if all(part.kind is Kind.LITERAL for part in parts):
        return texts.filter(pl.col(column) == "".join(part.text for part in parts))
    regex = regex_of(parts)
    named = [group(part) for part in parts if part.kind in (Kind.FILE, Kind.NAME)]
    if not named:
        return texts.filter(pl.col(column).str.contains(regex))
    found = texts.with_columns(found=pl.col(column).str.extract_groups(regex))
    fields = [pl.col("found").struct.field(name) for name in named]
    return found.with_columns(*fields).drop("found").filter(pl.col(named[0]).is_not_null())


def _segments(split: pl.DataFrame, parts: Sequence[Part], at: int) -> pl.DataFrame:
    """text, place, segment: those that may hold the id, by what stands before and behind it."""
    before, after = parts[:at], parts[at + 1 :]
    left, right = _slashes(before), _slashes(after)
    count = pl.col("segments").list.len().cast(pl.Int64)
    if not any(part.spans for part in before):
        some = split.select(
            "text", place=pl.lit(left, pl.Int64), segment=_segment(left), count=count
        )
    elif not any(part.spans for part in after):
        place = count - right - 1
        some = split.select("text", place=place, segment=_segment(-right - 1), count=count)
    else:
        place = pl.int_ranges(0, count)
        every = split.select("text", place=place, segment="segments", count=count)
        some = every.explode("place", "segment")
    behind = pl.col("count") - pl.col("place") - 1
    return some.filter((pl.col("place") >= left) & (behind >= right)).drop("count")


def _batch_key_cuts(ways: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Many at a time, but not all: a key of a thousand underscores has half a million ways."""
    waiting, count = [_WAY.to_frame()], 0
    for one in ways:
        waiting.append(one)
        count += one.height
        if count > _WAYS_AT_ONCE:
            yield pl.concat(waiting)
            waiting, count = [_WAY.to_frame()], 0
    yield pl.concat(waiting)


def _segment(place: int) -> pl.Expr:
    return pl.col("segments").list.get(place, null_on_oob=True)


def _slashes(parts: Sequence[Part]) -> int:
    """How many there are at least."""
    return sum(part.text.count("/") for part in parts if part.kind is Kind.LITERAL)


def _cut_key_segments(rows: pl.DataFrame, parts: Sequence[Part], at: int) -> Iterator[pl.DataFrame]:
    """text, place, start, left, id: every way to cut a segment around the id."""
    from_start, before = _key_text_before_id(parts, at)
    to_end, after = _right(parts, at)
    segment = pl.col("segment")
    if from_start:
        fit = rows.filter(segment.str.starts_with(before))
        begun = fit.with_columns(left=pl.lit(before), rest=segment.str.strip_prefix(before))
    else:
        left = [rows.clear().with_columns(first=pl.lit(""), second=pl.lit(""))]
        found = pl.concat([*left, *_occurrences(rows, "segment", before)])
        begun = found.with_columns(left=pl.col("first") + before, rest=pl.col("second"))
    rest = pl.col("rest")
    if to_end:
        fit = begun.filter(rest.str.ends_with(after))
        ended: Iterable[pl.DataFrame] = [fit.with_columns(id=rest.str.strip_suffix(after))]
    else:
        some = begun.select("text", "place", "left", "rest")
        ended = (one.rename({"first": "id"}) for one in _occurrences(some, "rest", after))
    for way in ended:
        start = pl.col("left").str.len_bytes()
        named = way.with_columns(start=start).filter(pl.col("id") != "")
        yield named.select(*_WAY)


def _occurrences(rows: pl.DataFrame, column: str, text: str) -> Iterator[pl.DataFrame]:
    """Every place of `text`, be it over another one: what is `first`, before it, and `second`."""
    places = rows.with_columns(at=pl.col(column).str.find_many([text], overlapping=True))
    whole, end = pl.col(column).cast(pl.Binary), pl.col("at") + len(text.encode())
    halves = {"first": whole.bin.slice(0, pl.col("at")), "second": whole.bin.slice(end)}
    halves = {name: half.cast(pl.String) for name, half in halves.items()}
    for some in _few_at_once(places):
        each = some.explode("at").filter(pl.col("at").is_not_null())
        yield each.with_columns(**halves).drop("at")


def _few_at_once(places: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows, so many together that they have some `_PLACES_AT_ONCE`."""
    so_far = places["at"].list.len().fill_null(0).cast(pl.Int64).cum_sum()
    first = 0
    while first < places.height:
        before = so_far[first - 1] if first else 0
        last = int(so_far.search_sorted(before + _PLACES_AT_ONCE, side="right"))
        last = max(last, first + 1)
        yield places[first:last]
        first = last


def _key_text_before_id(parts: Sequence[Part], at: int) -> tuple[bool, str]:
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
