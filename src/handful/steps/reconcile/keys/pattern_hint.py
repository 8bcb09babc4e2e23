"""The pattern that would have matched: known ids are looked for in some keys, and the rest of each
such key is made general. Only what then reads those keys is said."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from handful.errors import DataError
from handful.settings.values.key_patterns import EXAMPLES
from handful.settings.values.parse import Wrong
from handful.steps.reconcile.keys.key_pattern import KeyPattern
from handful.steps.reconcile.keys.names import quote_names
from handful.storage.base import Source

SHOWN = 3
"""Ids and keys that a message shows."""
MOST = 5_000
"""Keys that are looked at."""
_OF_A_BATCH = 100
_MOST_PLACES = 200
_PATTERN_HINT_MIN_SHARE = 0.8
"""The share of the keys that hold an id which a pattern must read to be said."""
_EDGE = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?![A-Za-z0-9])")
_SPECIAL = re.compile(r"[*{}]")


@dataclass
class KeySample:
    """Some keys from all over a listing."""

    keys: list[str] = field(default_factory=list)

    def add(self, keys: pl.Series) -> None:
        """Look at a batch of the listing."""
        room = min(_OF_A_BATCH, MOST - len(self.keys))
        if room > 0:
            self.keys += keys.gather_every(max(1, keys.len() // room)).head(room).to_list()


@dataclass(frozen=True)
class Hint:
    """A pattern, and what it was seen to do."""

    pattern: str
    reads: int
    looked_at: int
    exact: bool
    """Are the ids in the keys spelled as in the label rows?"""

    def __str__(self) -> str:
        same = "" if self.exact else " (their ids differ in case or dashes)"
        return (
            f"KEY_PATTERN = {self.pattern} reads {self.reads:,} of {self.looked_at:,} keys that "
            f"were looked at as files of label rows{same}"
        )


@dataclass(frozen=True)
class _Place:
    """Where an id was seen in a key."""

    before: tuple[str, ...]
    """Whole segments before the one that holds the id."""
    left: str
    right: str
    after: tuple[str, ...]


def no_key_fits(
    pattern: str, sample: KeySample, known: pl.DataFrame, seen: int, where: str
) -> DataError:
    """What is said when none of `seen` keys fits."""
    found = hint(sample.keys, known["artifact_id"])
    return DataError(
        f"none of the {seen:,} keys fits KEY_PATTERN {pattern!r}; {examples(known, sample.keys)}",
        where=where,
        remedy=_remedy(found, pattern),
    )


def no_file(files: Source, pattern: str, known: pl.DataFrame, where: str) -> DataError:
    """What is said when nothing lies in the folder that the pattern begins with."""
    some = first_keys(files)
    if not some:
        remedy = "check [production] FILES_URL, and the folder that KEY_PATTERN begins with"
        return DataError("there is no file", where=where, remedy=remedy)
    found = hint(some, known["artifact_id"])
    return DataError(
        f"there is no file in the folder that KEY_PATTERN {pattern!r} begins with; "
        + examples(known, some),
        where=where,
        remedy=_remedy(found, pattern),
    )


def first_keys(files: Source) -> list[str]:
    """Some of the first keys of production, whatever their folder."""
    sample = KeySample()
    for number, batch in enumerate(files.list()):
        sample.add(pl.Series(batch.column("key"), dtype=pl.String))
        if number >= MOST // _OF_A_BATCH:
            break
    return sample.keys


def examples(known: pl.DataFrame, keys: Sequence[str]) -> str:
    """Three ids and three keys."""
    ids = quote_names(known["artifact_id"].sort().head(SHOWN))
    found = quote_names(keys[:SHOWN])
    return f"the label rows have ids such as {ids}, the files have keys such as {found}"


def remedy(pattern: str, keys: Sequence[str], ids: pl.Series) -> str | None:
    """What to do if another pattern than `pattern` reads the keys; None if none was found."""
    found = hint(keys, ids)
    return _remedy(found, pattern) if found and found.pattern != pattern else None


def _remedy(found: Hint | None, pattern: str) -> str:
    if found and found.pattern != pattern:
        return str(found)
    example = next(one for one in EXAMPLES if one != pattern)
    return f"write the pattern so that it fits them, for example {example}"


def hint(keys: Sequence[str], ids: pl.Series) -> Hint | None:
    """A pattern that reads most of those keys in which an id of the label rows stands."""
    known = {one for one in ids.to_list() if one}
    for exact in (True, False):
        names = known if exact else {_fold_hint_id(one) for one in known}
        places = [place for key in keys if (place := _find_hint_place(key, names, exact=exact))]
        for pattern in _candidates(places):
            reads = _count_hint_matches(pattern, keys, names, exact=exact)
            if reads and reads >= _PATTERN_HINT_MIN_SHARE * len(places):
                return Hint(pattern, reads, len(keys), exact)
    return None


def _fold_hint_id(text: str) -> str:
    return text.strip().lower().replace("-", "").strip("{}")


def _find_hint_place(key: str, names: set[str], *, exact: bool) -> _Place | None:
    """The longest known id in a key, of those the last."""
    found: tuple[int, _Place] | None = None
    segments = key.split("/")
    for number, segment in enumerate(segments):
        edges = sorted({0, len(segment), *(match.start() for match in _EDGE.finditer(segment))})
        for start, end in _spans(edges):
            text = segment[start:end]
            if (text if exact else _fold_hint_id(text)) not in names:
                continue
            if found is None or end - start >= found[0]:
                before, after = tuple(segments[:number]), tuple(segments[number + 1 :])
                found = end - start, _Place(before, segment[:start], segment[end:], after)
    return found[1] if found else None


def _spans(edges: Sequence[int]) -> Iterator[tuple[int, int]]:
    some = edges[:24]  # a name of more pieces is no layout
    for number, start in enumerate(some):
        for end in some[number + 1 :]:
            yield start, end


def _candidates(places: Sequence[_Place]) -> Iterator[str]:
    """Patterns, the most telling first: of all places, then of those of the most frequent shape."""
    if not places:
        return
    tried = set()
    shapes = Counter((len(p.before), bool(p.after)) for p in places)
    groups = [list(places)]
    groups += [
        [p for p in places if (len(p.before), bool(p.after)) == shape]
        for shape, _ in shapes.most_common(2)
    ]
    for group in groups:
        some = group[: _MOST_PLACES * 10]
        ends = [*_ends(some)]
        for end in ends:
            begin = _build_hint_folders(some) + _side([p.left for p in some], left=True)
            pattern = f"{begin}{{artifact_id}}{end}"
            if pattern not in tried:
                tried.add(pattern)
                yield pattern


def _build_hint_folders(places: Sequence[_Place]) -> str:
    if len({len(place.before) for place in places}) > 1:
        shared = _common([f"{'/'.join(place.before)}/" for place in places])
        parts = shared.split("/")[:-1]
        return "".join(f"{_build_hint_folder([part])}/" for part in parts) + "**/"
    columns = zip(*(place.before for place in places), strict=True)
    return "".join(f"{_build_hint_folder(column)}/" for column in columns)


def _build_hint_folder(names: Sequence[str]) -> str:
    """One name; `*` where they differ, or where the next year would bring another."""
    return _literal(names[0]) if len(set(names)) == 1 and not names[0].isdigit() else "*"


def _ends(places: Sequence[_Place]) -> Iterator[str]:
    """What may follow the id."""
    rights = [place.right for place in places]
    if not any(place.after for place in places):
        if len(set(rights)) == 1:
            yield _literal(rights[0])
        same = _common(rights)
        if same and not same[0].isalnum():
            start = re.match(r"[^A-Za-z0-9]+", same)
            yield f"{_literal(start[0] if start else same)}{{file}}"
        return
    yield f"{_side(rights, left=False)}/{{file}}"


def _side(texts: Iterable[str], *, left: bool) -> str:
    """The text on one side of the id in its segment, the same or made general."""
    different = set(texts)
    if len(different) == 1:
        return _literal(different.pop())
    if left:
        same = _common([text[::-1] for text in different])[::-1]
        return f"*{_literal(same)}"
    return f"{_literal(_common(list(different)))}*"


def _common(texts: Sequence[str]) -> str:
    return os.path.commonprefix(texts)  # noqa: RUF071 - of texts, not of paths


def _literal(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"[{match[0]}]", text)


def _count_hint_matches(pattern: str, keys: Sequence[str], names: set[str], *, exact: bool) -> int:
    """How many of the keys it reads as files of known artifacts."""
    try:
        reader = KeyPattern.of(pattern)
    except Wrong:
        return 0
    table = pl.DataFrame({"key": keys}, {"key": pl.String}).with_columns(
        size=pl.lit(0, pl.Int64), etag=pl.lit("")
    )
    spelled = names if exact else _find_hint_spellings(keys, names)
    read = reader.read(
        table, pl.DataFrame({"artifact_id": sorted(spelled)}, {"artifact_id": pl.String})
    )
    ids = read.files["artifact_id"].to_list()
    return sum((one if exact else _fold_hint_id(one)) in names for one in ids)


def _find_hint_spellings(keys: Sequence[str], names: set[str]) -> set[str]:
    """The ids as the keys spell them."""
    found = set()
    for key in keys:
        place = _find_hint_place(key, names, exact=False)
        if place:
            segment = key.split("/")[len(place.before)]
            found.add(segment[len(place.left) : len(segment) - len(place.right)])
    return found
