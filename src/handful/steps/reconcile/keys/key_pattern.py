"""Reads keys by KEY_PATTERN: the artifact, the file and the other names that a key stands for.

Most patterns read a key in one way only (`{artifact_id}/{file}`: the id is the first segment).
Where they do not (`{artifact_id}_{file}`, `**/{artifact_id}/{file}`), the artifact ids of the label
rows decide. A key that still stands for two of them is kept once for each: both become
`ambiguous_key`. If it names one of them at several places, the last place counts. A key that names
none of them is read with one of their GUIDs in another spelling, if it can be; else with `{file}`
and `**` as long, and all else as short, as the pattern allows. A `regex:` reads as its own engine
does.

No row is touched by Python: keys come in batches of thousands, and millions of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from handful.settings.values.key_patterns import ARTIFACT_ID, FILE, Kind, Part, Template, parse
from handful.steps.reconcile.keys.key_cuts import Keep, cuts, fit_key_parts, is_fixed
from handful.steps.reconcile.keys.key_regex import find_key_regex_prefix, group, literal, regex_of

__all__ = ["NAMES", "PAGE", "KeyPattern", "Readings", "literal", "seams"]

from handful.steps.reconcile.keys.guids import guids

PAGE = 950
"""Files between two seams: a little less than what one page of a listing holds."""
NAMES = "names"
"""The column of what a key says beside artifact_id and file; only where the pattern has such."""
_MOST_SEAMS = 64
_READ = ["artifact_id", "file", "key", "size", "etag"]


@dataclass(frozen=True)
class Readings:
    """A batch of keys, read."""

    files: pl.DataFrame
    """artifact_id, file, key, size, etag, and `NAMES` if the pattern has other names."""
    unmatched: int
    """Keys that the pattern does not fit."""
    two_ways: int
    """Keys that stand for files of two artifacts of the label rows."""


@dataclass(frozen=True)
class KeyPattern:
    """A pattern that can read keys."""

    template: Template

    @classmethod
    def of(cls, pattern: str) -> KeyPattern:
        """From the text of the setting, which the settings have checked."""
        return cls(parse(pattern))

    @property
    def names(self) -> tuple[str, ...]:
        """All names but artifact_id and file."""
        return self.template.names

    @property
    def folder(self) -> str:
        """The folder that holds all keys of the pattern: "" or ending in `/`."""
        before = self.before
        return before[: before.rfind("/") + 1]

    @property
    def needs_ids(self) -> bool:
        """Can a key be read in more than one way?"""
        return not all(is_fixed(self._parts, at) for at in self._ids)

    @property
    def begins_with_id(self) -> bool:
        """Do the ids tell how the keys begin?"""
        fixed = self._parts[:1] and self._parts[0].kind is Kind.LITERAL
        return self._ids[:1] == ((1,) if fixed else (0,))

    def schema(self, files: pa.Schema) -> pa.Schema:
        """`files` (the schema of a listing), with the column of the other names if there are."""
        if not self.names:
            return files
        kind = pa.struct([(name, pa.large_string()) for name in self.names])
        return files.append(pa.field(NAMES, kind))

    def near(self, known: pl.DataFrame) -> list[str]:
        """Where to cut the listing: about a page apart, were each artifact of the label rows one
        file; the reader finds out how many they are. Nothing, if keys do not begin with the ids.

        `known`: as in `read`.
        """
        ids = known["artifact_id"].sort()
        every = max(PAGE, ids.len() // _MOST_SEAMS)
        return [self.before + seam for seam in seams(ids, every)] if self.begins_with_id else []

    def read(self, keys: pl.DataFrame, known: pl.DataFrame) -> Readings:
        """Read a batch of keys.

        Args:
            keys: key, size, etag.
            known: artifact_id; those of the label rows, each once. Only used if `needs_ids`.
        """
        numbered = keys.with_row_index("nr")
        read = self._by_ids(numbered, known) if self.needs_ids else self._one_way(numbered)
        ways = read.select("nr").unique().height
        columns = [*_READ, NAMES] if self.names else _READ
        return Readings(
            read.select(columns),
            keys.height - ways,
            read.filter(pl.col("nr").is_duplicated()).select("nr").unique().height,
        )

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.template.parts

    @cached_property
    def _ids(self) -> tuple[int, ...]:
        """Where among the parts the ids stand."""
        return tuple(at for at, part in enumerate(self._parts) if part.kind is Kind.ID)

    @property
    def before(self) -> str:
        """What every key begins with."""
        if self.template.regex:
            return find_key_regex_prefix(self.template.regex)
        first = self._parts[0]
        return first.text if first.kind is Kind.LITERAL else ""

    def _one_way(self, keys: pl.DataFrame) -> pl.DataFrame:
        """As the regular expression of the whole pattern reads them."""
        regex = self.template.regex
        whole = f"^(?:{regex})$" if regex else regex_of(self._parts)
        found = keys.with_columns(found=pl.col("key").str.extract_groups(whole))

        def column(name: str) -> pl.Expr:
            return pl.col("found").struct.field(name if regex else group(self._part(name)))

        groups = [ARTIFACT_ID] if regex else [group(self._parts[at]) for at in self._ids]
        first, *others = (pl.col("found").struct.field(one) for one in groups)
        same = [first == other for other in others]
        found = found.filter(first.is_not_null() & (first != ""), *same)
        return self._select_pattern_files(found.with_columns(first.alias(ARTIFACT_ID)), column)

    def _by_ids(self, keys: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
        """The ids of the label rows decide; where none does, the pattern alone."""
        meant = self._ways(keys, lambda ways: _select_known_key_ids(ways, known))
        rest = keys.join(meant, on="nr", how="anti")
        forms = self._forms(known) if rest.height else known.clear()
        if forms.height:
            alike = self._ways(rest, lambda ways: _same_guids(ways, forms))
            meant = pl.concat([meant, alike])
            rest = rest.join(alike, on="nr", how="anti")
        if len(self._ids) == 1:
            others = self._one_way(rest)
        else:  # ids that must be equal: no expression can tell
            every = self._ways(rest, lambda ways: ways)
            others = every.unique("nr", keep="first", maintain_order=True)
        return pl.concat([meant, others]).sort("nr", ARTIFACT_ID)

    @cached_property
    def _memo(self) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
        return []

    def _forms(self, known: pl.DataFrame) -> pl.DataFrame:
        """guid: those of the known ids that are GUIDs, in one form. Batch by batch they are the
        same, so they are found once."""
        if not self._memo or self._memo[0][0] is not known:
            forms = known.select(guid=guids(pl.col(ARTIFACT_ID))).drop_nulls().unique()
            self._memo[:] = [(known, forms)]
        return self._memo[0][1]

    def _ways(self, keys: pl.DataFrame, keep: Keep) -> pl.DataFrame:
        """All that fit the pattern on both sides of the id, of each id's the last place; of a
        key's the latest places first, and of one place the shortest id."""
        at = self._ids[0]
        ways = cuts(keys, "key", self._parts, at, keep).rename({"id": ARTIFACT_ID})
        fit = fit_key_parts(ways, "head", self._parts[:at])
        fit = fit_key_parts(fit, "tail", self._parts[at + 1 :])
        if fit["nr"].is_duplicated().any():
            length = pl.col(ARTIFACT_ID).str.len_bytes()
            order = fit.sort("nr", "place", "start", length, descending=[False, True, True, False])
            fit = order.unique(["nr", ARTIFACT_ID], keep="first", maintain_order=True)
        return self._select_pattern_files(fit, lambda name: pl.col(group(self._part(name))))

    def _part(self, name: str) -> Part:
        return next(part for part in self._parts if part.text == name and part.is_named)

    def _select_pattern_files(
        self, read: pl.DataFrame, column: Callable[[str], pl.Expr]
    ) -> pl.DataFrame:
        """nr and the columns of `Readings.files`; a key that ends in `/` names no file."""
        file = pl.col("key").str.split("/").list.last()
        if self.template.has_file:  # the group of a regular expression may be empty-handed
            file = pl.coalesce(column(FILE), file)
        others = [column(name).alias(name) for name in self.names]
        names = {NAMES: pl.struct(others)} if others else {}
        told = read.with_columns(file.alias(FILE), **names).filter(pl.col(FILE) != "")
        return told.select("nr", *_READ, *names)


def _select_known_key_ids(ways: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    return ways.join(known, left_on="id", right_on=ARTIFACT_ID, how="semi")


def _same_guids(ways: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Ways whose id is a known GUID in another spelling: so ID_FORMAT changes no reading."""
    found = ways.with_columns(guid=guids(pl.col("id")))
    return found.join(known, on="guid", how="semi").drop("guid")


def seams(ids: pl.Series, every: int) -> list[str]:
    """One of `every` so many of the ids, in order: where to cut a listing of their files.

    Ids, not whole keys, since a server that sorts folder by folder and one that sorts byte by byte
    agree about where an id stands.
    """
    return ids.gather_every(max(1, every), offset=every).unique().sort().to_list()
