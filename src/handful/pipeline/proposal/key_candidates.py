"""Key patterns that may read the keys: known ids are looked for, and what is beside them is made
general.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from handful.pipeline.proposal.key_slots import GUID_TEXT, are_dates, is_few, strip_extensions
from handful.settings.values.key_patterns import REGEX
from handful.steps.reconcile.keys.guids import normalize_guid

_ID = "{artifact_id}"
_TOKEN_EDGE = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?![A-Za-z0-9])")
_NUMBER_IN_KEY = re.compile(r"\d+")
_KEY_TOKEN = re.compile(r"[A-Za-z0-9]+")
_LONG_NUMBER_TOKEN = re.compile(r"(?<![A-Za-z0-9])\d{4,}(?![A-Za-z0-9])")
"""A date or a counter: the next will be another."""
_SPECIAL_LETTER = re.compile(r"[*{}]")
_REGEX_LETTERS = frozenset(r".^$*+?()[]{}|\#&~-")
_ODD_LETTER = re.compile(r"[^\w.\-+()@=~ !&',{}\[\]]|^\s|\s$")
"""What is rather left open than written down."""
_MOST_EDGES = 24
"""Edges of tokens in one segment: a name of more is no layout."""
_MOST_SHAPES = 4
"""Positions of the ids that are followed."""
_MOST_KINDS = 6
"""Names of one level that may each be the kind of file that is meant."""
_ENOUGH_IDS = 30
"""If so many ids lie in one folder, they all do."""
_LEAST_KIND_SHARE = 0.02
_NEARLY_EACH = 0.9
_PLAIN_CLASSES = (
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    r"[0-9A-Fa-f]{32}",
    r"\d+",
    r"[A-Za-z0-9]+",
)


@dataclass(frozen=True)
class IdSpot:
    """Where an id was seen in a key."""

    key: str
    id: str
    """As the key spells it."""
    folders: tuple[str, ...]
    """Whole segments before the one that holds it."""
    left: str
    right: str
    """What else is in its segment."""
    rest: tuple[str, ...]
    """Whole segments behind."""


@dataclass(frozen=True)
class PatternCandidate:
    """A pattern that is to be tried."""

    pattern: str
    exact: str
    """The same as an expression that knows of which letters ids are; "" if they are of any."""
    folders: str
    """The folders before the id, as a pattern."""
    truth: Mapping[str, str]
    """Key → the known id in it, where this pattern should find one."""

    @property
    def complexity(self) -> int:
        """What a person has to understand: the fewer, the better."""
        if self.pattern.startswith(REGEX):
            return 100
        return 3 * self.pattern.count("**") + self.pattern.count("*") + self.pattern.count("/")


def find_id_spots(keys: Sequence[str], ids: frozenset[str], *, fold: bool) -> list[IdSpot]:
    """Every place in the keys where a known id stands, unless it is within a longer one.

    `fold`: GUIDs are compared in one form; `ids` are in it.
    """
    longest = max((len(one) for one in ids), default=0) + (12 if fold else 0)
    spots = []
    for key in keys:
        segments = key.split("/")
        for number, segment in enumerate(segments):
            for start, end in _known_spans(segment, ids, longest, fold=fold):
                left, right = segment[:start], segment[end:]
                before, behind = tuple(segments[:number]), tuple(segments[number + 1 :])
                spots.append(IdSpot(key, segment[start:end], before, left, right, behind))
    return spots


def build_candidates(spots: Sequence[IdSpot], keys: Sequence[str]) -> list[PatternCandidate]:
    """Patterns for where the ids stand; each once."""
    found: dict[str, PatternCandidate] = {}
    for group, is_deep in _groups_of_spots(spots, keys):
        id_class = _class_of_ids([spot.id for spot in group])
        for folders in _folder_patterns(group, keys, is_deep=is_deep):
            some = [spot for spot in group if folders.holds(spot)]
            for left, right, regex in _segment_patterns(some, id_class):
                pattern = regex or f"{folders.pattern}{left}{_ID}{right}"
                exact = _exact_pattern(folders.pattern, left, right, id_class)
                if regex:
                    exact = pattern = f"regex:{_as_regex(folders.pattern)}{regex}"
                truth = {spot.key: spot.id for spot in some}
                one = PatternCandidate(pattern, exact, folders.pattern + left, truth)
                if _may_be_written(pattern):
                    found.setdefault(pattern, one)
    return [*found.values()]


def _may_be_written(pattern: str) -> bool:
    """Does a line of the settings hold it as it is?"""
    is_plain = pattern.isprintable() and pattern == pattern.strip() and "${" not in pattern
    return is_plain and pattern[0] not in "#;" and not re.search(r"\s[#;]", pattern)


def _known_spans(
    segment: str, ids: frozenset[str], longest: int, *, fold: bool
) -> Iterator[tuple[int, int]]:
    """The longest known ids in a segment; none within another."""
    spans = {(0, len(segment)), (0, len(strip_extensions(segment)))}
    spans |= {match.span() for match in GUID_TEXT.finditer(segment)}
    spans |= {match.span() for match in _NUMBER_IN_KEY.finditer(segment)}
    spans |= {match.span() for match in _KEY_TOKEN.finditer(segment)}
    edges = sorted({0, len(segment), *(match.start() for match in _TOKEN_EDGE.finditer(segment))})
    some = edges[:_MOST_EDGES]
    spans |= {(start, end) for at, start in enumerate(some) for end in some[at + 1 :]}
    covered = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start < covered or not 0 < end - start <= longest:
            continue
        text = segment[start:end]
        if (normalize_guid(text) if fold and len(text) >= 32 else text) in ids:
            covered = end
            yield start, end


def _groups_of_spots(
    spots: Sequence[IdSpot], keys: Sequence[str]
) -> list[tuple[list[IdSpot], bool]]:
    """Spots that are counted alike, those with the most ids first; is their depth uneven?"""
    different = _different_segments(keys)
    groups: dict[tuple[str, int, bool], list[IdSpot]] = {}
    for spot in spots:
        front, back, is_name = len(spot.folders), len(spot.rest), not spot.rest
        groups.setdefault(("front", front, is_name), []).append(spot)
        groups.setdefault(("back", back, is_name), []).append(spot)
    kept: list[tuple[int, list[IdSpot], bool]] = []
    for (way, at, is_name), group in groups.items():
        depths = {(len(spot.folders), len(spot.rest)) for spot in group}
        ids = {spot.id for spot in group}
        if way == "front" and not is_name and _holds_dates(group, different[at]):
            continue
        if is_few(len(ids), len(group)) and len(ids) < len({spot.id for spot in spots}):
            continue
        uneven = way == "back" and len({front for front, _ in depths}) > 1
        if way == "back" and not uneven:
            continue  # the front says the same
        kept.append((len(ids), group, uneven))
    if len(kept) > 1:
        kept.append((0, list(spots), len({len(spot.folders) for spot in spots}) > 1))
    kept.sort(key=lambda one: (-one[0], one[2]))
    return [(group, uneven) for _, group, uneven in kept[:_MOST_SHAPES]]


def _holds_dates(spots: Sequence[IdSpot], names: set[str]) -> bool:
    """Are the folders' names at this level dates, some of which happen to be ids?"""
    is_plain = not any(spot.left or spot.right for spot in spots)
    ids = {spot.id for spot in spots}
    return is_plain and are_dates([*names]) and len(ids) < _NEARLY_EACH * len(names)


def _different_segments(keys: Sequence[str]) -> dict[int, set[str]]:
    """The different folders' names at each level."""
    found: dict[int, set[str]] = {}
    for key in keys:
        for number, segment in enumerate(key.split("/")[:-1]):
            found.setdefault(number, set()).add(segment)
    return found


@dataclass(frozen=True)
class _Folders:
    """The folders before the id, as a pattern."""

    pattern: str
    """"" or ending in `/`."""
    level: int = 0
    only: str = ""
    """Only spots whose folder at `level` is this one; "": all."""

    def holds(self, spot: IdSpot) -> bool:
        return not self.only or spot.folders[self.level : self.level + 1] == (self.only,)


def _folder_patterns(
    spots: Sequence[IdSpot], keys: Sequence[str], *, is_deep: bool
) -> Iterator[_Folders]:
    if is_deep:
        shared = os.path.commonprefix([spot.folders for spot in spots])  # noqa: RUF071 - tuples
        yield _Folders("".join(f"{_folder_pattern([name])}/" for name in shared) + "**/")
        return
    columns = [Counter(names) for names in zip(*(spot.folders for spot in spots), strict=True)]
    general = [_folder_pattern([*names]) for names in columns]
    yield _Folders("".join(f"{one}/" for one in general))
    if len({spot.id for spot in spots}) < _ENOUGH_IDS:
        yield _Folders("".join(f"{one}/" for one in _open_levels(general, keys)))
    for level, names in enumerate(columns):
        least = _LEAST_KIND_SHARE * len(spots)
        if not 1 < len(names) <= _MOST_KINDS or are_dates([*names]):
            continue
        for name, count in names.most_common():
            if count >= least:
                one = [*general[:level], escape_pattern(name), *general[level + 1 :]]
                yield _Folders("".join(f"{part}/" for part in one), level, name)


def _open_levels(general: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The same with `*` at levels where keys that are as deep differ: a few ids may share one."""
    deep = [key.split("/") for key in keys if key.count("/") >= len(general)]
    names = [{segments[level] for segments in deep} for level in range(len(general))]
    return [one if len(found) == 1 else "*" for one, found in zip(general, names, strict=True)]


def _folder_pattern(names: Sequence[str]) -> str:
    """One name; `*` where they differ, or where the next year would bring another."""
    is_word = len(names) == 1 and not are_dates(names) and not names[0].isdigit()
    is_word = is_word and not names[0].startswith(REGEX) and not _ODD_LETTER.search(names[0])
    return escape_pattern(names[0]) if is_word else "*"


def _segment_patterns(spots: Sequence[IdSpot], id_class: str) -> Iterator[tuple[str, str, str]]:
    """What is left and right of the id; or both as an expression."""
    if not spots:
        return
    left = _left_pattern([spot.left for spot in spots])
    rights = sorted({spot.right for spot in spots})
    if all(spot.rest for spot in spots):
        right = _general_right(rights)
        if left is not None and right is not None:
            yield left, f"{right}/{{file}}", ""
        if id_class and (left is None or right is None):
            yield left or "", "", f"{_any_left(left)}(?P<artifact_id>{id_class})[^/]*/(?P<file>.+)"
        return
    if left is not None:
        for right in _name_rights(rights):
            yield left, right, ""
    if id_class and len(rights) > 1:
        yield left or "", "", f"{_any_left(left)}(?P<artifact_id>{id_class})[^/]*"


def _any_left(left: str | None) -> str:
    return "[^/]*?" if left is None or "*" in left else _as_regex(left)


def _left_pattern(lefts: Sequence[str]) -> str | None:
    """What stands before the id; where it differs, token by token. None: nothing parts the two."""
    different = sorted(set(lefts))
    if len(different) == 1 and not _LONG_NUMBER_TOKEN.search(different[0]):
        return escape_pattern(different[0])
    shapes = {_KEY_TOKEN.sub("x", left) for left in different}
    if len(shapes) == 1 and not _KEY_TOKEN.fullmatch(different[0][-1:]):
        columns = zip(*(_KEY_TOKEN.findall(left) for left in different), strict=True)
        tokens = [
            "*" if len(set(c)) > 1 or _LONG_NUMBER_TOKEN.search(c[0]) else escape_pattern(c[0])
            for c in columns
        ]
        parts = _KEY_TOKEN.split(different[0])
        woven = [escape_pattern(parts[0])]
        for token, part in zip(tokens, parts[1:], strict=True):
            woven += [token, escape_pattern(part)]
        return "".join(woven)
    same = os.path.commonprefix([left[::-1] for left in different])[::-1]  # noqa: RUF071 - texts
    return f"*{escape_pattern(same)}" if same else None


def _general_right(rights: Sequence[str]) -> str | None:
    """What stands behind the id in a folder's name; None: nothing parts the two."""
    if len(rights) == 1:
        return escape_pattern(rights[0])
    same = os.path.commonprefix(rights)  # noqa: RUF071 - texts
    return f"{escape_pattern(same)}*" if same else None


def _name_rights(rights: Sequence[str]) -> Iterator[str]:
    """What may stand behind the id in a file's name."""
    if len(rights) == 1:
        yield escape_pattern(rights[0])
        if rights[0][:1] not in ("", ".") and not rights[0][0].isalnum():
            yield f"{escape_pattern(rights[0][0])}{{file}}"
        return
    same = os.path.commonprefix(rights)  # noqa: RUF071 - texts
    if not same or same[0].isalnum():
        return
    if same[0] == ".":
        yield ".*"
        return
    yield f"{escape_pattern(same[0])}{{file}}"
    end = os.path.commonprefix([right[len(same) :][::-1] for right in rights])[::-1]  # noqa: RUF071
    yield f"{escape_pattern(same)}*{escape_pattern(end)}"


def escape_pattern(text: str) -> str:
    """A pattern that fits this text alone."""
    return _SPECIAL_LETTER.sub(lambda match: f"[{match[0]}]", text)


def _class_of_ids(ids: Sequence[str]) -> str:
    """An expression for ids such as these; "" if they are of any letters."""
    for one in _PLAIN_CLASSES:
        if all(re.fullmatch(one, text) for text in ids):
            return one
    return ""


def _exact_pattern(folders: str, left: str, right: str, id_class: str) -> str:
    """The pattern as an expression in which the id has only letters that ids have."""
    if not id_class:
        return ""
    before = f"{_as_regex(folders)}{_as_regex(left)}"
    return f"regex:{before}(?P<artifact_id>{id_class}){_as_regex(right)}"


def _as_regex(pattern: str) -> str:
    """An expression for a part of a pattern that has no names but {file}."""
    pieces = re.split(r"(\*\*/|\[[*{}]\]|\*|\{file\})", pattern)
    known = {"**/": "(?:.*/)?", "*": "[^/]*?", "{file}": "(?P<file>.+)"}
    return "".join(
        known.get(one) or _regex_text(one[1] if re.fullmatch(r"\[[*{}]\]", one) else one)
        for one in pieces
        if one
    )


def _regex_text(text: str) -> str:
    """An expression that fits this text alone, as a person would write it."""
    return "".join(f"\\{c}" if c in _REGEX_LETTERS else c for c in text)
