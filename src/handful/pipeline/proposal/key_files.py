"""Which files the artifacts have, and which of them is the document itself."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from handful.files.paths import fits, is_glob
from handful.pipeline.proposal.key_slots import GUID_TEXT, strip_extensions

NEARLY_ALL = 0.95
"""The share of the artifacts that have a file which is copied with every artifact."""
MOST_HAVE = 0.5
"""The same for the document, if there is no better one."""
_SOME_HAVE = 0.1
"""The same, if no kind of file is in most of them."""
_LEAST_ARTIFACTS = 5
"""Artifacts of which all files were seen: of fewer nothing is known."""
_EQUAL_DOCUMENTS = 0.03
_MUCH_LARGER = 3
_MOST_NAMES_SHOWN = 4
_LONGEST_GLOB = 120
_HEXADECIMAL_RUN = re.compile(r"(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}")
_DIGITS_IN_NAME = re.compile(r"\d+")
_UNSAFE = re.compile(r"[^\w.\-+()@=~ /*]")
"""Letters that a list of names, or a glob, would take for something else."""
_DOCUMENT_KINDS: Mapping[str, float] = {
    **dict.fromkeys(("eml", "txt", "text"), 0.95),
    **dict.fromkeys(("msg", "md", "html", "htm", "pdf", "docx"), 0.9),
    **dict.fromkeys(("json", "rtf", "odt"), 0.8),
    **dict.fromkeys(("jsonl", "xml", "doc"), 0.75),
    **dict.fromkeys(("csv", "tsv", "xlsx", "pptx"), 0.6),
    **dict.fromkeys(("png", "jpg", "jpeg", "tif", "tiff", "webp", "gif", "bmp"), 0.55),
    "": 0.5,
    **dict.fromkeys(("md5", "sha1", "sha256", "crc", "sig", "asc", "lock", "log", "tmp"), 0.1),
}
_OTHER_KIND = 0.3
_SIDE_WORDS = """
    meta metadata thumb thumbs thumbnail thumbnails preview checksum checksums md5 sha1 sha256
    hash manifest index log logs status state label labels header headers info config settings
    annotation annotations audit receipt small icon logo signature attachment attachments
    history event events trace stats embedding embeddings props properties tags acl
"""
_MAIN_WORDS = """
    body text raw content contents document doc original message mail email transcript full
    plain source main letter note article ocr page scan
"""
_SIDE, _MAIN = 0.4, 0.05


@dataclass(frozen=True)
class KeyFile:
    """A key that a pattern read."""

    artifact: str
    file: str
    key: str
    size: int


@dataclass(frozen=True)
class FileKind:
    """A name, or a glob, that artifacts have files of."""

    name: str
    share: float
    """Of the artifacts that were seen whole."""
    rating: float
    """That it is the document: 0 to 1."""
    size: float
    """The median, in bytes."""


@dataclass(frozen=True)
class FilesOfArtifacts:
    """What `survey_files` found."""

    kinds: tuple[FileKind, ...]
    """All of them, the most frequent first."""
    files: tuple[str, ...]
    """Names and globs that nearly every artifact has, the document first."""
    documents: tuple[FileKind, ...]
    """Which of `files` may be the document: one, or some that are nearly equal."""
    whole: int
    """Artifacts that were seen whole."""
    complete: float
    """The share of them that have all of `files`."""


def survey_files(
    files: Sequence[KeyFile], cut: Collection[str], folders: str = ""
) -> FilesOfArtifacts | None:
    """What kinds of files the artifacts have; None: they have nothing in common.

    `cut`: keys beside which files may not have been seen. `folders`: what the keys of all of them
    begin with; its words tell something, too.
    """
    partly = {file.artifact for file in files if file.key in cut}
    whole = {file.artifact for file in files} - partly
    if len(whole) < _LEAST_ARTIFACTS:
        whole |= partly
    seen = [file for file in files if file.artifact in whole]
    members, sizes = _group_files(seen)
    largest = max((median(one) for one in sizes.values()), default=0)
    kinds = [
        FileKind(
            name,
            len(artifacts) / len(whole),
            _rate_document(name, folders, median(sizes[name]), largest),
            median(sizes[name]),
        )
        for name, artifacts in members.items()
    ]
    kinds.sort(key=lambda kind: (-kind.share, -kind.rating, kind.name))
    frequent = [kind for kind in kinds if kind.share >= MOST_HAVE]
    frequent = frequent or [kind for kind in kinds if kind.share >= _SOME_HAVE]
    if not frequent:
        return None
    documents = _choose_documents(frequent)
    first = documents[0]
    names = [first.name, *(k.name for k in kinds if k.share >= NEARLY_ALL and k != first)]
    held = [members[name] for name in names]
    complete = len(frozenset.intersection(*held)) / len(whole)
    copied = [kind for kind in documents if kind.name in names]
    return FilesOfArtifacts(tuple(kinds), tuple(names), tuple(copied), len(whole), complete)


def find_files_of(files: Sequence[KeyFile], name: str) -> list[KeyFile]:
    """Those that a name or glob stands for."""
    return [file for file in files if fits(name, file.file)]


def _group_files(
    files: Sequence[KeyFile],
) -> tuple[dict[str, frozenset[str]], dict[str, list[int]]]:
    """Names and globs → the artifacts that have such files, and the sizes of these."""
    artifacts = {file.artifact for file in files}
    shapes: dict[str, list[KeyFile]] = defaultdict(list)
    for file in files:
        shapes[_general_name(file)].append(file)
    found: dict[str, list[KeyFile]] = {}
    free: dict[str, list[KeyFile]] = defaultdict(list)
    for shape, some in shapes.items():
        names = {file.file for file in some}
        exact = next(iter(names)) if len(names) == 1 else ""
        if len({file.artifact for file in some}) >= MOST_HAVE * len(artifacts):
            found[exact if exact and not _UNSAFE.search(exact) else shape] = some
        else:
            free[os.path.splitext(shape)[1]].extend(some)  # noqa: PTH122 - of a name
    for extension, some in free.items():
        _add_free_names(found, some, extension)
    return (
        {name: frozenset(file.artifact for file in some) for name, some in found.items()},
        {name: [file.size for file in some] for name, some in found.items()},
    )


def _add_free_names(found: dict[str, list[KeyFile]], some: list[KeyFile], extension: str) -> None:
    """Names that are each artifact's own, as one glob; else by what they are called most."""
    counts = Counter(_general_name(file) for file in some)
    same = os.path.commonprefix([*counts])  # noqa: RUF071 - of names
    begin = re.match(r"[A-Za-z_\-.]*[_\-.](?=.)|", same)
    glob = f"{begin[0] if begin else ''}*{_as_glob(extension)}"
    if len(counts) > 1:
        found[glob] = [*found.get(glob, []), *some]
    else:
        found.setdefault(_as_glob(next(iter(counts))), []).extend(some)


def _general_name(file: KeyFile) -> str:
    """The name as a glob in which ids, digests and numbers are `*`."""
    name = file.file
    for own in (file.artifact, file.artifact.lower(), file.artifact.upper()):
        if len(own) > 1:
            name = name.replace(own, "\0" + own[len(strip_extensions(own)) :])
    name = GUID_TEXT.sub("\0", name)
    name = _HEXADECIMAL_RUN.sub("\0", name)
    name = _DIGITS_IN_NAME.sub("\0", name)
    return re.sub(r"\*(?:[_\- ]*\*)+", "*", _as_glob(name).replace("\0", "*"))


def _as_glob(name: str) -> str:
    """A glob that fits the name; letters that mean something to globs and lists are `?`."""
    safe = _UNSAFE.sub(lambda m: m[0] if m[0] == "\0" else "?", name.replace("*", "?"))
    trimmed = "".join(
        "?" if letter == " " and at in (0, len(safe) - 1) else letter
        for at, letter in enumerate(safe)
    )
    return trimmed if len(trimmed) <= _LONGEST_GLOB else "*"


def _rate_document(name: str, folders: str, size: float, largest: float) -> float:
    """How likely files of this name are the documents."""
    base = name.rpartition("/")[2]
    extension = base.rpartition(".")[2] if "." in base else ""
    is_word = extension.replace("*", "").isalnum() or not extension
    kind = extension.lower() if is_word else ""
    rating = _DOCUMENT_KINDS.get(kind, _OTHER_KIND)
    words = {word.lower() for word in re.findall(r"[A-Za-z]+", _split_camel(f"{folders} {name}"))}
    if words.intersection(_SIDE_WORDS.split()):
        rating *= _SIDE
    elif words.intersection(_MAIN_WORDS.split()):
        rating = min(1.0, rating + _MAIN)
    if not size:
        return rating * 0.1
    if size < 16:
        return rating * 0.6
    return rating * (0.9 if size < 0.02 * largest else 1.0)


def _split_camel(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _choose_documents(kinds: Sequence[FileKind]) -> list[FileKind]:
    """The likeliest document, and those that are as likely."""

    def weight(kind: FileKind) -> float:
        return kind.rating * (1.0 if kind.share >= NEARLY_ALL else 0.8 * kind.share)

    ranked = sorted(kinds, key=lambda kind: (-weight(kind), -kind.size, kind.name))
    best = ranked[0]
    equal = [
        kind
        for kind in ranked[1:]
        if weight(best) - weight(kind) < _EQUAL_DOCUMENTS
        and kind.size * _MUCH_LARGER > best.size
        and best.size * _MUCH_LARGER > kind.size
    ]
    larger = [k for k in ranked[1:] if weight(best) - weight(k) < _EQUAL_DOCUMENTS]
    far = [kind for kind in larger if kind.size >= _MUCH_LARGER * best.size]
    if far:
        return [max(far, key=lambda kind: kind.size)]
    return [best, *equal[:2]]


def describe_files(survey: FilesOfArtifacts) -> list[str]:
    """For people: what is proposed, and what is left out."""
    shares = {kind.name: kind.share for kind in survey.kinds}
    has = [f"{name} in {_percent(shares[name])}" for name in survey.files]
    told = [f"of {survey.whole:,} artifacts seen whole: {', '.join(has)}"]
    others = [kind for kind in survey.kinds if kind.name not in survey.files]
    if others:
        some = [f"{kind.name} ({_percent(kind.share)})" for kind in others[:_MOST_NAMES_SHOWN]]
        more = len(others) - len(some)
        told.append(
            f"left out, since not every artifact has one: {', '.join(some)}"
            + (f" and {more} more" if more else "")
        )
    globs = [name for name in survey.files if is_glob(name)]
    both = [name for name in survey.files if any(g != name and fits(g, name) for g in globs)]
    if both:
        told.append(f"a glob of these stands for {', '.join(both)}, too")
    return told


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) or share < 0.995 else "nearly 100 %"
