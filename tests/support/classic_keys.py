"""KEY_PATTERN as version 0.1 read it: the yardstick of a test. Two names, and literal text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

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
    def needs_ids(self) -> bool:
        """Can a key be read in more than one way?"""
        return "/" not in self.between

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
        shortest = others.sort(pl.col("artifact_id").str.len_bytes()).unique("nr", keep="first")
        return pl.concat([meant, shortest]).sort("nr", "artifact_id")

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


def literal(text: str) -> str:
    """A regular expression (of Rust's kind) that fits exactly `text`."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)
