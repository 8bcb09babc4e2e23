"""The language of KEY_PATTERN: where in a key the artifact id and the file's name stand.

    {artifact_id}   the id: one segment of the key or a part of one; twice means: equal
    {file}          the file's name, which may lie in subfolders
    {name}          any other name: one segment or a part of one; it goes into the ledger's `row`
    *               any text within one segment; alone between slashes, one segment
    **              any number of segments, also none (at the end: at least one)
    [*] [{] [}]     the letter itself; every other letter stands for itself, too
    regex:…         a regular expression of Rust's kind that fits the whole key

Without `{file}` the file's name is the key's last segment.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from handful.settings.values.parse import Wrong

REGEX = "regex:"
ARTIFACT_ID, FILE = "artifact_id", "file"
EXAMPLES = {
    "{artifact_id}/{file}": "4f1c/raw_text.json",
    "{artifact_id}.pdf": "4f1c.pdf",
    "*/*/*/{artifact_id}/{file}": "2024/05/17/4f1c/1_body.eml",
    "**/{artifact_id}_{file}": "archive/old/4f1c_raw_text.json",
    "{tenant}/{language}/{artifact_id}/{artifact_id}.*": "acme/de/4f1c/4f1c.docx",
    r"regex:v(?P<version>\d+)/(?P<artifact_id>[0-9a-f]+)-(?P<file>.+)": "v2/4f1c-raw_text.json",
}
"""A pattern → a key that it reads as a file of the artifact `4f1c`."""
_TAKEN = {"label", "file_hash", "label_source"}
"""Names that the ledger has columns for."""
_KEY_PATTERN_TOKEN = re.compile(r"\[([*{}])\]|\{([^{}/]*)\}|(\*+)|([{}])|([^\[{}*]+|\[)", re.DOTALL)
_PLACEHOLDER_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CARET = re.compile(r"^( *)\^+", re.MULTILINE)


class Kind(Enum):
    """What a part of a pattern stands for."""

    LITERAL = "text"
    ID = "{artifact_id}"
    FILE = "{file}"
    NAME = "{name}"
    STAR = "*"
    FOLDERS = "**"
    """With the `/` behind it (its text), but at the end of a pattern."""


@dataclass(frozen=True)
class Part:
    """A piece of a pattern."""

    kind: Kind
    text: str = ""
    """The literal text, or the name."""
    at: int = 0
    """Where in the pattern it begins."""

    @property
    def spans(self) -> bool:
        """May it hold a `/`?"""
        return self.kind in (Kind.FILE, Kind.FOLDERS)

    @property
    def is_named(self) -> bool:
        """Is its text a name?"""
        return self.kind in (Kind.ID, Kind.FILE, Kind.NAME)

    def __str__(self) -> str:
        return f"{{{self.text}}}" if self.kind is Kind.NAME else self.kind.value


@dataclass(frozen=True)
class Template:
    """A pattern, read."""

    parts: tuple[Part, ...] = ()
    regex: str = ""
    """What follows `regex:`; then there are no parts."""
    names: tuple[str, ...] = ()
    """All names but artifact_id and file."""
    has_file: bool = True
    """Does it say where the file's name stands? Otherwise that is the key's last segment."""


def key_pattern(pattern: str) -> None:
    """Check a pattern: `Wrong` says what is amiss, and at which letter."""
    parse(pattern)


def parse(pattern: str) -> Template:
    """Read a pattern; see `key_pattern`."""
    return (
        _regex(pattern[len(REGEX) :]) if pattern.startswith(REGEX) else _parse_key_template(pattern)
    )


def _parse_key_template(pattern: str) -> Template:
    parts = _parse_key_parts(pattern)
    names = [part.text for part in parts if part.kind is Kind.NAME]
    files = [part for part in parts if part.kind is Kind.FILE]
    if pattern.startswith("/"):
        raise Wrong("{} begins with /", remedy="the pattern is relative to FILES_URL: drop the /")
    if pattern.endswith("/"):
        raise Wrong("{} ends with /", remedy="say which files are meant: end it with {file} or *")
    _check_segments(pattern)
    if not any(part.kind is Kind.ID for part in parts):
        raise _no_id(names)
    if len(files) > 1:
        raise Wrong(_at("{} holds {file} twice, again", files[1].at), remedy=_example())
    _check_names(names)
    _check_apart(parts)
    return Template(tuple(parts), names=tuple(names), has_file=bool(files))


def _parse_key_parts(pattern: str) -> list[Part]:
    found: list[Part] = []
    for match in _KEY_PATTERN_TOKEN.finditer(pattern):
        escaped, name, stars, brace, text = match.groups()
        at = match.start()
        if brace:
            remedy = f"write [{brace}] for the letter itself, or {_example()}"
            raise Wrong(_at(f"{{}} holds a lone {brace}", at), remedy=remedy)
        if stars:
            found.append(_stars(pattern, stars, at))
        elif name is not None:
            found.append(_parse_placeholder(name, at))
        else:
            found.append(Part(Kind.LITERAL, escaped or text, at))
    return _merge_literal_parts(found)


def _stars(pattern: str, stars: str, at: int) -> Part:
    if len(stars) == 1:
        return Part(Kind.STAR, at=at)
    before, after = pattern[:at], pattern[at + len(stars) :]
    alone = (not before or before.endswith("/")) and (not after or after.startswith("/"))
    if len(stars) > 2 or not alone:
        what = _at(f"{{}} holds {stars} that is no whole segment", at)
        raise Wrong(what, remedy="write * for a part of a segment, and **/ for whole ones")
    return Part(Kind.FOLDERS, after[:1], at)


def _parse_placeholder(name: str, at: int) -> Part:
    if not _PLACEHOLDER_NAME_PATTERN.fullmatch(name):
        remedy = "write letters, digits and _ between the braces, and [{] for a literal {"
        raise Wrong(_at("{} holds braces around no name", at), remedy=remedy)
    kinds = {ARTIFACT_ID: Kind.ID, FILE: Kind.FILE}
    return Part(kinds.get(name, Kind.NAME), name, at)


def _merge_literal_parts(parts: list[Part]) -> list[Part]:
    """Neighbouring literals as one; the `/` behind `**` belongs to it."""
    found: list[Part] = []
    for part in parts:
        before = found[-1] if found else None
        if part.kind is not Kind.LITERAL or before is None:
            found.append(part)
        elif before.kind is Kind.FOLDERS:
            if rest := part.text[1:]:
                found.append(Part(Kind.LITERAL, rest, part.at + 1))
        elif before.kind is Kind.LITERAL:
            found[-1] = Part(Kind.LITERAL, before.text + part.text, before.at)
        else:
            found.append(part)
    return found


def _no_id(names: list[str]) -> Wrong:
    near = difflib.get_close_matches(ARTIFACT_ID, names, n=1, cutoff=0.5)
    hint = f"did you mean {{artifact_id}} by {{{near[0]}}}? " if near else ""
    return Wrong("{} must hold {artifact_id}", remedy=hint + _example())


def _check_segments(pattern: str) -> None:
    """No key with such a segment is ever read, and `..` would list beside FILES_URL."""
    at = 0
    for segment in pattern.split("/"):
        if segment in ("", ".", ".."):
            what = f"the segment '{segment}'" if segment else "an empty segment"
            raise Wrong(_at(f"{{}} holds {what}", at), remedy=f"drop it; {_example()}")
        at += len(segment) + 1


def _check_names(names: list[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            remedy = "only {artifact_id} may stand twice: give the other another name"
            raise Wrong(f"{{}} holds {{{name}}} twice", remedy=remedy)
        if name in _TAKEN:
            remedy = "give it another name: the ledger has a column of that name"
            raise Wrong(f"{{}} holds {{{name}}}, which has a meaning already", remedy=remedy)


def _check_apart(parts: list[Part]) -> None:
    """Two that may be any text need something between them that tells where one ends."""
    for one, other in pairwise(parts):
        if Kind.LITERAL not in (one.kind, other.kind) and one.kind is not Kind.FOLDERS:
            what = _at(f"nothing parts {one} from {other} in {{}}", other.at)
            raise Wrong(what, remedy=f"put a / or some other text between them; {_example()}")


def _at(what: str, at: int) -> str:
    return f"{what} at letter {at + 1}"


def _example() -> str:
    return f"write something like {next(iter(EXAMPLES))}"


def _regex(regex: str) -> Template:
    """Have the library that will read the keys compile it: its flavour is the one that counts."""
    import polars as pl  # only such a pattern needs it

    try:
        groups = pl.Series([""]).str.extract_groups(regex).struct.fields
    except pl.exceptions.PolarsError as error:
        raise _regex_fault(str(error)) from None
    named = [name for name in groups if not name.isdigit()]
    example = f"write something like {list(EXAMPLES)[-1]}"
    if ARTIFACT_ID not in named:
        near = difflib.get_close_matches(ARTIFACT_ID, named, n=1, cutoff=0.5)
        hint = f"did you mean it by {near[0]}? " if near else ""
        raise Wrong("{} has no group named artifact_id", remedy=hint + example)
    names = tuple(name for name in named if name not in (ARTIFACT_ID, FILE))
    _check_names(list(names))
    return Template(regex=regex, names=names, has_file=FILE in named)


def _regex_fault(told: str) -> Wrong:
    """polars' words: the expression, carets below the fault, and `error: …`."""
    why = told.rpartition("error: ")[2].strip().splitlines()
    caret = _CARET.search(told)
    place = f" at letter {len(caret[1]) - 4 + 1 + len(REGEX)}" if caret else ""
    reason = why[0] if why else "it cannot be compiled"
    return Wrong(
        f"{{}} is no regular expression of Rust's kind{place}: {reason}",
        remedy="see docs.rs/regex for what it knows (no look-around, no back-references), or "
        f"{_example()}",
    )
