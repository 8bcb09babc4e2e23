"""What was legal for the first build is encoded to the same bytes.

The first build's code is taken out of git, so the test needs the repository's history.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

FIRST = "5ebf7ed"
ROOT = Path(__file__).parents[2]
SCRIPT = """
import hashlib
import json
import sys
from pathlib import Path

import handful
import polars as pl

where, root, answer = sys.argv[1:]
assert Path(handful.__file__).is_relative_to(where), handful.__file__
# Where `preparing` lies by now, and where it lay at first.
sys.path[:0] = [where, f"{where}/tests/support", f"{where}/tests"]
from preparing import bench

made = bench(Path(root), 2600, Path(root, "functions.txt").read_text())
made.prepare(prepare_NEAR_DUPLICATES="ignore")
found = made.bytes()
# Tables and markers have checksums of their own now: these are compared by what they say.
for name in found:
    path = made.prepared / name
    if name.endswith(".parquet"):
        table = pl.read_parquet(path)
        found[name] = f"{table.schema} {hashlib.sha256(repr(table.rows()).encode()).hexdigest()}"
    elif path.name == "encoded.json":
        told = json.loads(path.read_text())
        # The names of the labels are part of data_hash now.
        found[name] = {k: told[k] for k in told if k not in {"checksum", "files", "data_hash"}}
Path(answer).write_text(json.dumps(found))
"""
FUNCTIONS = """
import json
import zlib

import numpy as np
from datasets import Array2D, Array3D, Features, LargeList, List, Sequence, Value


def get_dataset_features():
    return Features({
        "input_ids": Sequence(Value("int32")),
        "mask": Sequence(Value("int8")),
        "labels": Value("int64"),
        "floats": List(Value("float32")),
        "wide": List(Value("int64")),
        "boxes": List(List(Value("int16"), length=4)),
        "picture": Array3D((2, 3, 2), "float32"),
        "pages": Array2D((None, 2), "int32"),
        "bytes": LargeList(Value("uint8")),
        "flags": List(Value("bool")),
        "weight": Value("float64"),
        "halves": List(Value("float16")),
        "first": Value("int32"),
        "flags as ints": List(Value("int8")),
        "count": Value("uint16"),
    })


def encode_data(instance):
    text = json.loads(instance["raw_text.json"].read_text())["text"]
    ids = [zlib.crc32(word.encode()) % 1000 for word in text.split()]
    chance = np.random.default_rng(ids[0])
    return {
        "input_ids": ids,
        "mask": [1] * len(ids),
        "floats": chance.normal(size=ids[0] % 7).tolist(),
        "wide": chance.integers(0, 2**40, len(ids)),
        "boxes": [[one % 5, 2, 3, 4] for one in ids],
        "picture": chance.normal(size=(2, 3, 2)),
        "pages": chance.integers(0, 9, (ids[0] % 4 + 1, 2)).tolist(),
        "bytes": np.array(ids, np.int64) % 256,
        "flags": [one % 3 == 0 for one in ids],
        "weight": chance.normal(),
        "halves": chance.normal(size=3).astype(np.float32),
        "first": ids[0],
        "flags as ints": [one % 2 == 0 for one in ids],
        "count": np.uint16(len(ids)),
    }
"""
LATER = {"tiny/truncation.json"}
"""It tells of the longest rows now."""


def prepared(source: Path, folder: Path) -> dict[str, Any]:
    """Every file of prepare → sha256, or what it says, by the code of `source`."""
    folder.mkdir()
    (folder / "functions.txt").write_text(FUNCTIONS)
    answer = folder / "bytes.json"
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    command = [sys.executable, "-c", SCRIPT, str(source), str(folder), str(answer)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(answer.read_text())
    return {name: digest for name, digest in found.items() if name not in LATER}


@pytest.mark.slow
def test_what_was_legal_is_the_same_to_the_byte(tmp_path: Path) -> None:
    archive = ["git", "-C", str(ROOT), "archive", FIRST, "src", "tests"]
    packed = subprocess.run(archive, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the repository's history has no {FIRST}")
    first = tmp_path / "first"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        tar.extractall(first, filter="data")
    before = prepared(first, tmp_path / "before")
    assert len([name for name in before if name.endswith(".arrow")]) == 3
    assert prepared(ROOT, tmp_path / "now") == before
