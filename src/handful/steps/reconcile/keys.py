"""Reads KEY_PATTERN: from a key of production to the artifact and the file that it stands for.

A pattern is literal text around `{artifact_id}` (never a `/` in it) and `{file}` (anything). Where
the text between the two holds a `/`, a key can be read in one way only. Where it does not
(`{artifact_id}_{file}`), a key such as `a_b_c.txt` can be read in several; then the artifact ids of
the label rows decide. A key that still stands for two of them is kept once for each: both become
`ambiguous_key`. A key that names none of them is read with one of their GUIDs in another spelling,
if it can be, else with the shortest id.

No row is touched by Python: keys come in batches of thousands, and millions of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from handful.steps.reconcile.guids import guids

PAGE = 950
"""Files between two seams: a little less than what one page of a listing holds."""
_MOST_SEAMS = 64
_ID, _FILE = "{artifact_id}", "{file}"


@dataclass(frozen=True)
class Readings:
    """A batch of keys, read."""

    files: pl.DataFrame
    """artifact_id, file, key, size, etag."""
    unmatched: int
    """Keys that the pattern does not fit."""
    two_ways: int
    """Keys that stand for files of two artifacts of the label rows."""


@dataclass(frozen=True)
class KeyPattern:
    """`before` + one of the two + `between` + the other one + `after`."""

    before: str
    between: str
    after: str
    id_first: bool

    @classmethod
    def of(cls, pattern: str) -> KeyPattern:
        """From the text of the setting, which the settings have checked."""
        id_first = pattern.index(_ID) < pattern.index(_FILE)
        first, second = (_ID, _FILE) if id_first else (_FILE, _ID)
        before, _, rest = pattern.partition(first)
        between, _, after = rest.partition(second)
        return cls(before, between, after, id_first)

    @property
    def folder(self) -> str:
        """The folder that holds all keys of the pattern: "" or ending in `/`."""
        return self.before[: self.before.rfind("/") + 1]

    @property
    def needs_ids(self) -> bool:
        """Can a key be read in more than one way?"""
        return "/" not in self.between

    def near(self, known: pl.DataFrame) -> list[str]:
        """Where to cut the listing: about a page apart, were each artifact of the label rows one
        file; the reader finds out how many they are. Nothing, if keys do not begin with the ids.

        `known`: as in `read`.
        """
        ids = known["artifact_id"].sort()
        every = max(PAGE, ids.len() // _MOST_SEAMS)
        return [self.before + seam for seam in seams(ids, every)] if self.id_first else []

    def read(self, keys: pl.DataFrame, known: pl.DataFrame) -> Readings:
        """Read a batch of keys.

        Args:
            keys: key, size, etag.
            known: artifact_id; those of the label rows, each once. Only used if `needs_ids`.
        """
        longest = len(self.before) + len(self.after)
        fitting = keys.with_row_index("nr").filter(
            pl.col("key").str.starts_with(self.before)
            & pl.col("key").str.ends_with(self.after)
            & (pl.col("key").str.len_chars() > longest)
        )
        inner = fitting.with_columns(
            inner=pl.col("key").str.strip_prefix(self.before).str.strip_suffix(self.after)
        )
        read = self._in_many_ways(inner, known) if self.needs_ids else self._in_one_way(inner)
        ways = read.select("nr").unique().height
        files = read.select("artifact_id", "file", "key", "size", "etag")
        return Readings(
            files,
            keys.height - ways,
            read.filter(pl.col("nr").is_duplicated()).select("nr").unique().height,
        )

    def _in_one_way(self, keys: pl.DataFrame) -> pl.DataFrame:
        between = literal(self.between)
        pattern = (
            f"^(?s)(?<artifact_id>[^/]+?){between}(?<file>.+)$"
            if self.id_first
            else f"^(?s)(?<file>.+){between}(?<artifact_id>[^/]+)$"
        )
        read = keys.with_columns(pl.col("inner").str.extract_groups(pattern).alias("parts"))
        return read.unnest("parts").filter(pl.col("artifact_id").is_not_null())

    def _in_many_ways(self, keys: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
        ways = list(self._ways(keys))
        empty = keys.with_columns(artifact_id=pl.lit(""), file=pl.lit("")).clear()
        readings = pl.concat(ways) if ways else empty
        meant = readings.join(known, on="artifact_id", how="semi")
        others = readings.join(meant, on="nr", how="anti")
        alike = _same_guids(others, known)
        others = others.join(alike, on="nr", how="anti")
        shortest = others.sort(pl.col("artifact_id").str.len_bytes()).unique("nr", keep="first")
        return pl.concat([meant, alike, shortest]).sort("nr", "artifact_id")

    def _ways(self, keys: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Every way to cut the keys at `between`, one place after the other."""
        rest = keys.with_columns(done=pl.lit(""), rest=pl.col("inner"))
        step, tail = self.between[0], self.between[1:]
        while rest.height:
            parts = pl.col("rest").str.splitn(self.between, 2).struct
            cut = rest.with_columns(
                first=pl.col("done") + parts.field("field_0"), second=parts.field("field_1")
            ).filter(pl.col("second").is_not_null())
            names = ("first", "second") if self.id_first else ("second", "first")
            way = cut.with_columns(artifact_id=pl.col(names[0]), file=pl.col(names[1]))
            yield way.filter(
                (pl.col("artifact_id") != "")
                & ~pl.col("artifact_id").str.contains("/", literal=True)
                & (pl.col("file") != "")
            ).select(*keys.columns, "artifact_id", "file")
            # The next place may overlap this one (`__` in `a___b`): go on one letter further.
            rest = cut.with_columns(done=pl.col("first") + step, rest=tail + pl.col("second"))
            if self.id_first:
                rest = rest.filter(~pl.col("done").str.contains("/", literal=True))


def _same_guids(readings: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Readings whose id is a known GUID in another spelling: so ID_FORMAT changes no reading."""
    guid = guids(pl.col("artifact_id"))
    forms = known.select(guid=guid).drop_nulls() if readings.height else known.clear()
    if forms.is_empty():
        return readings.clear()
    return readings.with_columns(guid=guid).join(forms, on="guid", how="semi").drop("guid")


def seams(ids: pl.Series, every: int) -> list[str]:
    """One of `every` so many of the ids, in order: where to cut a listing of their files.

    Ids, not whole keys, since a server that sorts folder by folder and one that sorts byte by byte
    agree about where an id stands.
    """
    return ids.gather_every(max(1, every), offset=every).unique().sort().to_list()


def literal(text: str) -> str:
    """A regular expression (of Rust's kind) that fits exactly `text`."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)
