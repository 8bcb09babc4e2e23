"""Licence texts, as the demo has them: long and ragged."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

from train_parts.encoded import Text

ROOT = Path(__file__).parents[2]


def texts(scratch: Path, train: int, test: int) -> dict[str, list[Text]]:
    """So many documents, drawn at random (seed 0), of labels with ten documents and more."""
    business = scratch / "business"
    subprocess.run(
        [sys.executable, str(ROOT / "examples/build_business.py"), str(business)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with sqlite3.connect(business / "labels.sqlite") as database:
        rows = database.execute("SELECT artifact_id, label FROM labels ORDER BY 1, 2").fetchall()
    found = []
    for artifact_id, label in rows:
        path = business / "files" / str(artifact_id) / "raw_text.json"
        if label and path.is_file():
            found.append(Text(artifact_id, label, json.loads(path.read_text())["text"]))
    counts: dict[str, int] = {}
    for text in found:
        counts[text.label] = counts.get(text.label, 0) + 1
    found = [text for text in found if counts[text.label] >= 10]
    random.Random(0).shuffle(found)
    parts = {"train": found[:train], "test": found[train : train + test]}
    return {**parts, "validation": parts["test"][:16]}
