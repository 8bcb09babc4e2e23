"""Why documents that hang together must stay in one split, shown on the rules of licences.

    python bench/leakage.py [--data FOLDER] [--seeds 3]

The package `licensedcode-data` (ScanCode LicenseDB, CC-BY-4.0, nexB Inc. and others) holds rules:
how licences are quoted in real code. One rule is one artifact; the category of its licence is the
label. `handful prepare` splits them in four ways: at random, with near-duplicates in one split (the
default), with all rules of a licence in one split (`GROUP_BY = licence`), and with both; beside
them stands scikit-learn's GroupShuffleSplit by licence. TF-IDF and logistic regression learn four
fifths and are tested on the rest, each time. The differences are the leak: docs/leakage.md tells
it. Leaves with 1 if the fault no longer shows.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prepare_parts import made
from prepare_parts.documents import Text
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GroupShuffleSplit

FEWEST_CHARACTERS = 150
"""Shorter rules are names and notices, which say nothing of a category."""
FUNCTIONS = """
from datasets import Features, List, Value


def get_dataset_features():
    return Features(input_ids=List(Value("int32")))


def encode_data(instance):
    return {"input_ids": [len(word) for word in instance["raw_text.json"].read_text().split()]}
"""
AT_RANDOM, DEFAULT, BOTH = "at random", "near-duplicates in one split (default)", "both"
WAYS = {
    AT_RANDOM: ["prepare.NEAR_DUPLICATES=ignore"],
    DEFAULT: [],
    "all rules of a licence in one split": [
        "prepare.NEAR_DUPLICATES=ignore",
        "prepare.GROUP_BY=licence",
    ],
    BOTH: ["prepare.GROUP_BY=licence"],
}
SHUFFLED = "licences at random (GroupShuffleSplit)"
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---[^\S\n]*(?:\n|\Z)(.*)\Z", re.DOTALL)
_FACT = re.compile(r"^(license_expression|key|category): *['\"]?([^'\"\n]+?)['\"]? *$", re.M)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder for the documents, kept")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each kind")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-leakage-") as scratch:
        root = told.data or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        texts = list(rules())
        licences = {one.row["licence"] for one in texts}
        if not (root / "experiment").exists():
            made.make(root, texts)
            (root / "experiment/functions.py").write_text(FUNCTIONS)
        print(f"{len(texts):,} rules of {len(licences):,} licences\n")
        print(f"{'split':40} {'accuracy':>20} {'macro-F1':>20}  test artifacts")
        accuracy = {}
        for way in (*WAYS, SHUFFLED):
            tried = [_tried(root, seed, way, texts) for seed in range(told.seeds)]
            accuracy[way] = statistics.mean(one.accuracy for one in tried)
            figures = [[getattr(one, name) for one in tried] for name in ("accuracy", "macro")]
            shown = "  ".join(f"{_spread(values):>20}" for values in figures)
            tests = ", ".join(f"{one.tested:,}" for one in tried)
            print(f"{way:40} {shown}  {tests}", flush=True)
        _tell(root)
    return 0 if accuracy[AT_RANDOM] - accuracy[BOTH] > 0.15 else 1


@dataclass(frozen=True)
class Tried:
    """One split, and how a model does on its test part."""

    accuracy: float
    macro: float
    tested: int


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def rules() -> Iterator[Text]:
    """Every rule that speaks of one licence alone, with the licence in its label row."""
    files = [Path(str(f.locate())) for f in importlib.metadata.files("licensedcode-data") or ()]
    category = {
        facts["key"]: facts["category"]
        for path in files
        if path.suffix == ".LICENSE" and "category" in (facts := _read(path)[0])
    }
    for path in sorted({path for path in files if path.match("licensedcode/data/rules/*.RULE")}):
        facts, text = _read(path)
        licence = facts.get("license_expression", "")
        if licence in category and len(text) >= FEWEST_CHARACTERS:
            yield Text(path.stem, category[licence], text, {"licence": licence})


def _read(path: Path) -> tuple[dict[str, str], str]:
    match = _FRONT_MATTER.match(path.read_text(encoding="utf-8"))
    return (dict(_FACT.findall(match[1])), match[2].strip()) if match else ({}, "")


def _tried(root: Path, seed: int, way: str, texts: list[Text]) -> Tried:
    """Split in this way, learn four fifths, and test on the rest."""
    tested = _shuffled(seed, texts) if way == SHUFFLED else _prepared(root, seed, way)
    train = [t for t in texts if t.id not in tested]
    test = [t for t in texts if t.id in tested]
    vectors = TfidfVectorizer(sublinear_tf=True, min_df=2)
    model = LogisticRegression(C=10, max_iter=300)
    model.fit(vectors.fit_transform([t.text for t in train]), [t.label for t in train])
    guessed = model.predict(vectors.transform([t.text for t in test]))
    labels = [t.label for t in test]
    macro = f1_score(labels, guessed, average="macro", zero_division=0)
    return Tried(float(accuracy_score(labels, guessed)), float(macro), len(test))


def _prepared(root: Path, seed: int, way: str) -> set[str]:
    """The artifacts of the test split that `handful prepare` draws."""
    dataset = _dataset(seed, way)
    wanted = [*WAYS[way], f"prepare.ENCODED_DATA_DIR={dataset}", f"experiment.SEED={seed}"]
    command = [str(Path(sys.executable).parent / "handful"), "prepare", str(root / "experiment")]
    for one in (*wanted, "prepare.SPLIT=0.7/0.1/0.2"):
        command += ["--set", one]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = root / "store/measured/data/prepared_data" / dataset / "splits.parquet"
    rows = pq.read_table(path, columns=["artifact_id", "split"]).to_pylist()
    return {row["artifact_id"] for row in rows if row["split"] == "test"}


def _shuffled(seed: int, texts: list[Text]) -> set[str]:
    licences = [one.row["licence"] for one in texts]
    _, test = next(
        GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(texts, None, licences)
    )
    return {texts[place].id for place in test}


def _dataset(seed: int, way: str) -> str:
    return f"way_{list(WAYS).index(way)}_seed_{seed}"


def _tell(root: Path) -> None:
    """What leakage.json says of the default."""
    folder = root / "store/measured/data/prepared_data" / _dataset(0, DEFAULT)
    told: dict[str, Any] = json.loads((folder / "leakage.json").read_text())
    was = told["before_grouping"]
    print(
        f"\nleakage.json: {told['pairs']:,} pairs of near-duplicates; a draw without groups puts "
        f"{was['pairs']:,} of them in two splits\nand gives "
        f"{was['test_artifacts_with_twin']:,} of {was['test_artifacts']:,} test artifacts a twin "
        "elsewhere. The strongest:"
    )
    for one in told["examples"][:5]:
        print(f"  {one['likeness']:.3f}  {' | '.join(one['artifacts'])}  ({one['labels'][0]})")


if __name__ == "__main__":
    sys.exit(main())
