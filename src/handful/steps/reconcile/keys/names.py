"""Names of files, and of artifacts: which are wanted, and which cannot be trusted.

Globs mean what `fnmatch` means: `*` any text, `?` one letter, `[abc]` one of these. A name that
came from a database or a bucket is hostile until it was looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from handful.errors import UserError
from handful.files.paths import is_glob
from handful.steps.reconcile.keys.key_pattern import literal

LONGEST = 255
"""Bytes of one name, on the file systems of today."""
_NAME_DISPLAY_LENGTH = 100
_NO_NAME_REGEX = r"[^\s\S]"
_CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"


@dataclass(frozen=True)
class Wanted:
    """Which files an artifact is copied with, and which it must end with."""

    copied: tuple[str, ...]
    """FILES_FROM_PROD: names and globs."""
    from_production: tuple[str, ...]
    """Those of FILES_ON_RESEARCH that only production can give."""
    after_process: tuple[str, ...]
    """Those of FILES_ON_RESEARCH that process_func may give."""

    @classmethod
    def of(
        cls, from_prod: tuple[str, ...], on_research: tuple[str, ...], has_process: bool
    ) -> Wanted:
        """Sort the names of the settings; `UserError` for one that nobody can give."""
        if has_process:
            production = tuple(name for name in on_research if name in from_prod)
            rest = tuple(name for name in on_research if name not in from_prod)
            return cls(from_prod, production, rest)
        wanted = cls(from_prod, on_research, ())
        orphans = [name for name in on_research if not wanted.may_be_copied(name)]
        if orphans:
            raise UserError(
                f"nobody can give {', '.join(map(repr, orphans))}: FILES_FROM_PROD does not name "
                f"{'it' if len(orphans) == 1 else 'them'}, and there is no process_func",
                where="settings.ini [reconcile] FILES_ON_RESEARCH",
                remedy="add it to FILES_FROM_PROD, or write a process_func that makes it",
            )
        return wanted

    def may_be_copied(self, name: str) -> bool:
        """May production give a file that fits this name or glob, as FILES_FROM_PROD stands?"""
        return any(may_meet(name, given) for given in self.copied)

    def is_copied(self, column: str = "file") -> pl.Expr:
        """Does FILES_FROM_PROD name this file?"""
        return pl.any_horizontal([matches(pl.col(column), name) for name in self.copied])


def matches(names: pl.Expr, pattern: str) -> pl.Expr:
    """Which of `names` are `pattern`, or fit it if it is a glob?"""
    if not is_glob(pattern):
        return names == pattern
    return names.str.contains(f"^(?s:{regex(pattern)})$")


def regex(glob: str) -> str:
    """A regular expression (of Rust's kind) that fits what the glob fits."""
    return "".join(_token_regex(token) for token in _parse_glob_tokens(glob))


@lru_cache(maxsize=1024)
def may_meet(one: str, other: str) -> bool:
    """Is there a name that fits both? (A set of letters counts as any letter.)"""
    return _has_glob_overlap(_parse_glob_tokens(one), _parse_glob_tokens(other))


def id_fault(ids: pl.Expr) -> pl.Expr:
    """Why an artifact id cannot be the name of a folder; null if it can."""
    return (
        pl.when(ids.is_null() | (ids == ""))
        .then(pl.lit("the artifact id is empty"))
        .when(ids.is_in([".", ".."]))
        .then(pl.lit("the artifact id climbs out of its folder"))
        .when(ids.str.contains(r"[/\\]"))
        .then(pl.lit("the artifact id holds a slash or a backslash"))
        .when(ids.str.contains(_CONTROL))
        .then(pl.lit("the artifact id holds a control character"))
        .when(ids.str.len_bytes() > LONGEST)
        .then(pl.lit(f"the artifact id is longer than {LONGEST} bytes"))
    )


def row_fault(rows: pl.DataFrame) -> pl.Expr:
    """`id_fault` of label rows, whose ids may be values that their type cannot hold."""
    fault = id_fault(pl.col("artifact_id"))
    if "kept_as_text" not in rows.columns:  # of a snapshot that was taken before there was one
        return fault
    is_kept = pl.col("kept_as_text").str.contains("artifact_id", literal=True)
    told = "the artifact id is no ordinary value of its type; this is the database's own text of it"
    return pl.coalesce(fault, pl.when(is_kept).then(pl.lit(told)))


def file_fault(names: pl.Expr) -> pl.Expr:
    """Why a file's name cannot be trusted; null if it can."""
    longest = names.str.split("/").list.eval(pl.element().str.len_bytes()).list.max()
    return (
        pl.when(names.str.contains(r"(?:^|/)\.{0,2}(?:/|$)"))
        .then(pl.lit("is absolute, climbs out of its folder, or has an empty part"))
        .when(names.str.contains("\\", literal=True))
        .then(pl.lit("holds a backslash"))
        .when(names.str.contains(_CONTROL))
        .then(pl.lit("holds a control character"))
        .when((names.str.len_bytes() > LONGEST) & (longest > LONGEST))
        .then(pl.lit(f"is longer than {LONGEST} bytes"))
    )


def shown(names: pl.Expr) -> pl.Expr:
    """Names as a reason may quote them: in quotes, cut, with nothing that moves a cursor."""
    clean = names.str.replace_all(r"[\p{C}\p{Zl}\p{Zp}]", "\ufffd")
    is_long = clean.str.len_chars() > _NAME_DISPLAY_LENGTH
    cut = pl.when(is_long).then(clean.str.head(_NAME_DISPLAY_LENGTH) + "…").otherwise(clean)
    return pl.lit("'") + cut + pl.lit("'")


def quote_names(names: Iterable[str | None], most: int = 5) -> str:
    """A few names for a message, and how many more there are."""
    all_names = list(names)
    clean = [
        "".join(c if c.isprintable() else "\ufffd" for c in str(name))[:_NAME_DISPLAY_LENGTH]
        for name in all_names[:most]
    ]
    more = f" and {len(all_names) - most:,} more" if len(all_names) > most else ""
    return ", ".join(f"'{name}'" for name in clean) + more


def _parse_glob_tokens(glob: str) -> tuple[str, ...]:
    """Letters, `*`, `?` and `[sets]`, as fnmatch cuts them; a literal special letter is `\\x`."""
    found, at = [], 0
    while at < len(glob):
        letter = glob[at]
        at += 1
        if letter == "[":
            start = at + 1 if glob[at : at + 1] == "!" else at
            end = glob.find("]", start + 1)
            if end >= 0:
                found.append(glob[at - 1 : end + 1])
                at = end + 1
                continue
        found.append(letter if letter in "*?" else f"\\{letter}")
    return tuple(found)


def _token_regex(token: str) -> str:
    if token == "*":  # nosec B105
        return ".*"
    if token == "?":  # nosec B105
        return "."
    if token.startswith("\\"):
        return literal(token[1:])
    return _set_regex(token[1:-1])


def _set_regex(content: str) -> str:
    inverse = content.startswith("!")
    letters, parts, at = content[inverse:], [], 0
    while at < len(letters):
        if letters[at + 1 : at + 2] == "-" and at + 2 < len(letters):
            low, high = letters[at], letters[at + 2]
            parts += [f"{_one(low)}-{_one(high)}"] if low <= high else []
            at += 3
        else:
            parts.append(_one(letters[at]))
            at += 1
    if not parts:
        return "." if inverse else _NO_NAME_REGEX
    return f"[{'^' if inverse else ''}{''.join(parts)}]"


def _one(letter: str) -> str:
    return f"\\x{{{ord(letter):x}}}"


def _has_glob_overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Walk both globs at once; a state is how far each has come."""
    reached, seen = [(0, 0)], set()
    while reached:
        state = reached.pop()
        if state in seen:
            continue
        seen.add(state)
        i, j = state
        a, b = one[i : i + 1], other[j : j + 1]
        if not a and not b:
            return True
        if a == ("*",):
            reached.append((i + 1, j))
        if b == ("*",):
            reached.append((i, j + 1))
        if a and b and _same_letter(a[0], b[0]):
            reached.append((i if a == ("*",) else i + 1, j if b == ("*",) else j + 1))
    return False


def _same_letter(a: str, b: str) -> bool:
    both_letters = a.startswith("\\") and b.startswith("\\")
    return a == b if both_letters else True
