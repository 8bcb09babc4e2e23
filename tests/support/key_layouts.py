"""Layouts of keys as companies have them, with the ids of the database and what is to be seen.

Every layout is made of as many artifacts as a test wants.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

FIRST_DAY = date(2023, 2, 1)
BODY, META = 4_000, 300
"""Sizes in bytes."""

Make = Callable[[str, int, Random], Mapping[str, int]]
"""An id, its number and chance → key and size of each of its files."""


@dataclass(frozen=True)
class Layout:
    """How one company names its files."""

    name: str
    make: Make
    patterns: tuple[str, ...]
    """Any of these KEY_PATTERNs is right."""
    files: tuple[str, ...]
    """FILES_FROM_PROD, in any order."""
    document: str
    ids: str = "guid"
    """How the database spells ids: guid, number, code."""
    fold: bool = False
    without_ids: bool = True
    """Can the id's place be seen without the database?"""

    def artifacts(self, count: int, seed: int = 0) -> list[tuple[str, Mapping[str, int]]]:
        """Each id with its keys and their sizes."""
        random = Random(seed)
        ids = [_SPELL[self.ids](number, random) for number in range(count)]
        return [(one, self.make(one, number, random)) for number, one in enumerate(ids)]


def guid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


_SPELL: Mapping[str, Callable[[int, Random], str]] = {
    "guid": lambda _, random: guid(random),
    "GUID": lambda _, random: guid(random).upper(),
    "hex": lambda _, random: guid(random).replace("-", ""),
    "number": lambda number, _: str(number + 1),
    "long": lambda number, _: str(7_300_000 + 13 * number),
    "padded": lambda number, _: f"{number:08d}",
    "code": lambda number, random: f"{'ABCD'[number % 4]}{random.choice('XYZ')}-{1000 + number}",
    "file": lambda number, random: f"{guid(random)[:8]}-{number}.txt",
    "slug": lambda number, random: "".join(random.choices("bcdfghjklm", k=8)) + str(number),
}


def day(random: Random, days: int = 400) -> date:
    return FIRST_DAY + timedelta(random.randrange(days))


def _names(**sizes: int) -> dict[str, int]:
    return {name.replace("__", "."): size for name, size in sizes.items()}


def _below(folder: str, names: Mapping[str, int]) -> dict[str, int]:
    return {f"{folder}/{name}": size for name, size in names.items()}


def _mail(one: str, number: int, random: Random) -> Mapping[str, int]:
    start = 1 + number % 9
    names = {f"{start}_body.eml": BODY, "meta.json": META}
    for attachment in range(random.randrange(3)):
        names[f"{start}_attachment{attachment}.pdf"] = 90_000
    return _below(f"{day(random):%Y/%m/%d}/{one}", names)


def _pages(one: str, number: int, random: Random) -> Mapping[str, int]:
    return {f"{one}_page{page}.png": 50_000 for page in range(1, 2 + random.randrange(4))}


def _simple(folder: str, **names: int) -> Make:
    def make(one: str, number: int, random: Random) -> Mapping[str, int]:
        tenant = random.choice(["acme", "globex", "initech"])
        language = random.choice(["de", "en"])
        when = day(random)
        place = folder.format(
            id=one,
            tenant=tenant,
            language=language,
            when=when,
            shard=one[:2],
            upper=one.upper(),
            plain=one.replace("-", ""),
            lower=one.lower(),
            n=number % 7,
            free=_free(random),
        )
        if not names:
            return {place: BODY}
        return (
            _below(place, _names(**names))
            if not place.endswith(("_", "-", "."))
            else {f"{place}{name}": size for name, size in _names(**names).items()}
        )

    return make


def _free(random: Random) -> str:
    words = ["Invoice", "letter", "Offer", "contract", "note", "scan", "Final", "copy"]
    return " ".join(random.choices(words, k=3)) + f" {random.randrange(10_000)}"


def _with_free_name(one: str, number: int, random: Random) -> Mapping[str, int]:
    return {f"{one}/{_free(random)}.pdf": 80_000, f"{one}/metadata.json": META}


def _some_thumbs(one: str, number: int, random: Random) -> Mapping[str, int]:
    thumbs = {f"{one}/thumb.png": 900} if number % 3 else {}
    return {f"{one}/raw_text.json": BODY, **thumbs}


def _uneven(one: str, number: int, random: Random) -> Mapping[str, int]:
    folder = random.choice(["new", "archive/2021", "archive/old/2019"])
    return {f"{folder}/{one}/message.txt": BODY, f"{folder}/{one}/headers.json": META}


def _versions(one: str, number: int, random: Random) -> Mapping[str, int]:
    return {f"uploads/{one}/{guid(random)}/content.html": BODY for _ in range(1 + number % 2)}


def _mixed_ends(one: str, number: int, random: Random) -> Mapping[str, int]:
    return {f"{one}.pdf": 90_000, f"{one}_thumb.png": 800}


def _kinds(one: str, number: int, random: Random) -> Mapping[str, int]:
    return {f"raw/{one}.json": BODY, f"meta/{one}.json": META, f"thumbs/{one}.png": 700}


def _moved(one: str, number: int, random: Random) -> Mapping[str, int]:
    folder = one if number % 3 else f"{day(random):%Y/%m}/{one}"
    return {f"{folder}/raw.json": BODY, f"{folder}/acl.json": META}


def _dated_kinds(one: str, number: int, random: Random) -> Mapping[str, int]:
    month = f"{day(random):%Y/%m}"
    return {f"{month}/text/{one}.json": BODY, f"{month}/labels/{one}.json": META}


def _free_ends(one: str, number: int, random: Random) -> Mapping[str, int]:
    return {f"user-{random.randrange(900)}/{one}-{_free(random)}.pdf": 90_000}


def _one_kind_of_three(one: str, number: int, random: Random) -> Mapping[str, int]:
    name = ["letter.pdf", "mail.eml", "note.docx"][0 if number % 5 < 2 else 1 + number % 2]
    return {f"{one}/{name}": BODY}


def _tens(one: str, number: int, random: Random) -> Mapping[str, int]:
    pages = {f"{one}/pages/{page:03d}.png": 60_000 for page in range(1, 25)}
    return {f"{one}/text.txt": BODY, f"{one}/manifest.xml": META, **pages}


LAYOUTS: Sequence[Layout] = (
    Layout(
        "a layout that changed once",
        _moved,
        ("**/{artifact_id}/{file}",),
        ("raw.json", "acl.json"),
        "raw.json",
        without_ids=False,
    ),
    Layout(
        "kinds below months",
        _dated_kinds,
        ("*/*/text/{artifact_id}.json",),
        ("*.json",),
        "*.json",
    ),
    Layout(
        "free text behind the id",
        _free_ends,
        ("*/{artifact_id}-{file}",),
        ("*.pdf",),
        "*.pdf",
        ids="long",
        without_ids=False,
    ),
    Layout(
        "moments and ids in the name",
        _simple("{when:%Y-%m-%d}/{when:%H%M%S}_{id}_mail.eml"),
        ("*/*_{artifact_id}_mail.eml",),
        ("*_mail.eml",),
        "*_mail.eml",
        ids="hex",
    ),
    Layout(
        "versions behind the folder's id",
        _simple("items/{id}_v{n}", content__md=BODY),
        ("items/{artifact_id}_v*/{file}",),
        ("content.md",),
        "content.md",
        ids="padded",
    ),
    Layout(
        "compressed",
        _simple("export/{id}.json.gz"),
        ("export/{artifact_id}.json.gz",),
        ("*.json.gz",),
        "*.json.gz",
        ids="slug",
    ),
    Layout(
        "an id that ends like a file",
        _simple("{tenant}/{id}"),
        ("*/{artifact_id}",),
        ("*.txt",),
        "*.txt",
        ids="file",
        without_ids=False,
    ),
    Layout(
        "the default",
        _simple("{id}", raw_text__json=BODY, metadata__json=META),
        ("{artifact_id}/{file}",),
        ("raw_text.json", "metadata.json"),
        "raw_text.json",
    ),
    Layout(
        "dated mails",
        _mail,
        ("*/*/*/{artifact_id}/{file}",),
        ("*_body.eml", "meta.json"),
        "*_body.eml",
    ),
    Layout(
        "dated mails with small numbers",
        _mail,
        ("*/*/*/{artifact_id}/{file}",),
        ("*_body.eml", "meta.json"),
        "*_body.eml",
        ids="number",
    ),
    Layout(
        "tenants",
        _simple("{tenant}/{id}", raw__json=BODY),
        ("*/{artifact_id}/{file}",),
        ("raw.json",),
        "raw.json",
    ),
    Layout(
        "tenants and languages",
        _simple("{tenant}/{language}/{id}/{id}.docx"),
        ("*/*/{artifact_id}/{file}",),
        ("*.docx",),
        "*.docx",
    ),
    Layout("flat pdf", _simple("{id}.pdf"), ("{artifact_id}.pdf",), ("*.pdf",), "*.pdf"),
    Layout(
        "flat pdf of numbers",
        _simple("{id}.pdf"),
        ("{artifact_id}.pdf",),
        ("*.pdf",),
        "*.pdf",
        ids="long",
    ),
    Layout(
        "flat pages",
        _pages,
        ("{artifact_id}_{file}",),
        ("page*.png",),
        "page*.png",
    ),
    Layout(
        "flat pages of codes",
        _pages,
        ("{artifact_id}_{file}",),
        ("page*.png",),
        "page*.png",
        ids="code",
        without_ids=False,
    ),
    Layout(
        "versions in the name",
        _simple("docs-{id}-v{n}.txt"),
        ("docs-{artifact_id}-{file}", "docs-{artifact_id}-v*.txt"),
        ("v*.txt",),
        "v*.txt",
    ),
    Layout(
        "versions in the name of numbers",
        _simple("docs-{id}-v{n}.txt"),
        ("docs-{artifact_id}-{file}", "docs-{artifact_id}-v*.txt"),
        ("v*.txt",),
        "v*.txt",
        ids="long",
    ),
    Layout(
        "upper case in the bucket",
        _simple("{upper}", body__html=BODY),
        ("{artifact_id}/{file}",),
        ("body.html",),
        "body.html",
        fold=True,
    ),
    Layout(
        "no dashes in the bucket",
        _simple("in/{when:%Y-%m-%d}/{plain}.eml"),
        ("in/*/{artifact_id}.eml",),
        ("*.eml",),
        "*.eml",
        fold=True,
    ),
    Layout(
        "upper case in the database",
        _simple("{lower}", text__txt=BODY, info__json=META),
        ("{artifact_id}/{file}",),
        ("text.txt", "info.json"),
        "text.txt",
        ids="GUID",
        fold=True,
    ),
    Layout(
        "shards",
        _simple("{shard}/{id}", content__xml=BODY, checksum__md5=32),
        ("*/{artifact_id}/{file}",),
        ("content.xml", "checksum.md5"),
        "content.xml",
        ids="hex",
    ),
    Layout(
        "hive partitions",
        _simple("year={when:%Y}/month={when:%m}/day={when:%d}/{id}.json"),
        ("*/*/*/{artifact_id}.json",),
        ("*.json",),
        "*.json",
    ),
    Layout(
        "a date before the id",
        _simple("{when:%Y%m%d}_{id}.txt"),
        ("*_{artifact_id}.txt",),
        ("*.txt",),
        "*.txt",
    ),
    Layout(
        "a prefix to the folder",
        _simple("incoming/doc-{id}", document__pdf=90_000, ocr__txt=BODY),
        ("incoming/doc-{artifact_id}/{file}",),
        ("document.pdf", "ocr.txt"),
        "ocr.txt",
        ids="padded",
    ),
    Layout(
        "free names",
        _with_free_name,
        ("{artifact_id}/{file}",),
        ("*.pdf", "metadata.json"),
        "*.pdf",
    ),
    Layout(
        "thumbs of some",
        _some_thumbs,
        ("{artifact_id}/{file}",),
        ("raw_text.json",),
        "raw_text.json",
        ids="slug",
    ),
    Layout(
        "uneven depth",
        _uneven,
        ("**/{artifact_id}/{file}",),
        ("message.txt", "headers.json"),
        "message.txt",
    ),
    Layout(
        "subfolders of versions",
        _versions,
        ("uploads/{artifact_id}/{file}",),
        ("*/content.html",),
        "*/content.html",
        without_ids=False,
    ),
    Layout(
        "names that end in two ways",
        _mixed_ends,
        (
            "regex:(?P<artifact_id>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})[^/]*",
            "{artifact_id}.pdf",
        ),
        ("*.pdf", "*_thumb.png"),
        "*.pdf",
    ),
    Layout(
        "tens of files",
        _tens,
        ("{artifact_id}/{file}",),
        ("text.txt", "manifest.xml", "pages/*.png"),
        "text.txt",
    ),
    Layout(
        "codes as folders",
        _simple("mails/{id}", message__eml=BODY),
        ("mails/{artifact_id}/{file}",),
        ("message.eml",),
        "message.eml",
        ids="code",
    ),
    Layout(
        "tenant and id in the name",
        _simple("{tenant}_{id}_{language}.html"),
        ("*_{artifact_id}_{file}", "*_{artifact_id}_*.html"),
        ("*.html",),
        "*.html",
        ids="long",
    ),
    Layout(
        "mails with small letters in two files",
        _simple("{id}_", body__html=BODY, header__json=META),
        ("{artifact_id}_{file}",),
        ("body.html", "header.json"),
        "body.html",
        ids="slug",
        without_ids=False,
    ),
)
KINDS = Layout(
    "a folder of each kind",
    _kinds,
    ("raw/{artifact_id}.json", "*/{artifact_id}.json"),
    ("*.json",),
    "*.json",
)


def layouts() -> Iterator[Layout]:
    yield from LAYOUTS
    yield KINDS
