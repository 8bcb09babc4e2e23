"""final/ knows to what length it was trained: who uses it elsewhere cuts where handful does."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from handful import Classifier
from tests.support import tiny
from tests.support.tiny import COMMON, WORDS, Tiny

pytestmark = pytest.mark.slow

LENGTH = 24
FUNCTIONS = f"""
import functools

from datasets import Features, Sequence, Value
from transformers import AutoTokenizer

import handful


def get_dataset_features():
    return Features(
        {{"input_ids": Sequence(Value("int32")), "attention_mask": Sequence(Value("int8"))}}
    )


tokenizer = functools.cache(AutoTokenizer.from_pretrained)


def encode_data(instance, model_name):
    text = instance["text.txt"].read_text()
    full = len(tokenizer(model_name)(text)["input_ids"])
    encoded = tokenizer(model_name)(text, truncation=True, max_length={LENGTH})
    kept = {{name: encoded[name] for name in ("input_ids", "attention_mask")}}
    return handful.Encoded(kept, full_length=full)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    from transformers import BertTokenizerFast

    made = tiny.make(tmp_path_factory.mktemp("length"))
    model = made.root / "model"
    words = ["[CLS]", "[SEP]", "[MASK]"]  # stand in the place of three common words
    vocabulary = (model / "vocab.txt").read_text().split()
    vocabulary[2:5] = words
    (model / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(model / "vocab.txt")).save_pretrained(model)
    (made.experiment / "functions.py").write_text(FUNCTIONS)
    text = (made.experiment / "settings.ini").read_text()
    text = text.replace("FILES_ON_RESEARCH = text.txt, label.json\n", "")
    (made.experiment / "settings.ini").write_text(text)
    done = made.handful("run", "--until", "train")
    assert done.returncode == 0, done.stderr
    return made


def test_a_pipeline_with_truncation_says_what_predict_says(trained: Tiny, tmp_path: Path) -> None:
    from transformers import pipeline

    final = trained.store / "results/full_dataset/models/model/seed-0/final"
    assert json.loads((final / "handful.json").read_text())["max_length"] == LENGTH
    assert f"at most {LENGTH} tokens" in (final / "README.md").read_text()
    classify = pipeline("text-classification", model=str(final), device="cpu")
    assert classify.tokenizer.model_max_length == LENGTH
    chance = random.Random(1)
    paths = []
    for number in range(20):
        first, second = chance.sample(list(WORDS), 2)  # what lies behind the cut says otherwise
        words = chance.choices(WORDS[first] + COMMON[3:], k=LENGTH - 2)
        paths.append(tmp_path / f"{number:02}" / "text.txt")
        paths[-1].parent.mkdir()
        paths[-1].write_text(" ".join([*words, *chance.choices(WORDS[second], k=200)]))
    told = Classifier.load(final, experiment=trained.experiment).predict(
        [path.parent for path in paths]
    )
    there = classify([path.read_text() for path in paths], truncation=True, padding=True)
    assert [one.label for one in told] == [one["label"] for one in there]
    assert len({one.label for one in told}) > 1
