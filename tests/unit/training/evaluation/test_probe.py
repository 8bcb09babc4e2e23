"""The head of a model, the probe that is fitted for it, and how a training begins with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from transformers import AutoModelForSequenceClassification

from handful.errors import UserError
from handful.records import Split
from handful.settings import TrainSection
from handful.settings.recipe import Recipe
from handful.training.data.collate import Collator
from handful.training.data.splits import open_splits
from handful.training.evaluation.features import Frozen, features, hash_frozen_model
from handful.training.evaluation.probe import Standard, probe_of
from handful.training.loop.optimizer import (
    Pace,
    learning_rate_at,
    make_optimizer,
    set_learning_rate,
)
from handful.training.loop.process_group import Team
from handful.training.loop.state import RunState
from handful.training.model.head_start import Beginning, Headed, resolve_head_start
from handful.training.model.heads import Head, compute_cpu_logits, find_head, without_head
from handful.training.model.load import Built
from handful.training.model.pretrained import load_pretrained
from tests.support.architectures import LABELS, tiny_config
from tests.support.encoded import Encoded, make, tiny_bert
from tests.support.progress import Recording

RECIPE = Recipe(3.0, 32, 1e-4)
LABEL2ID = {"invoice": 0, "letter": 1, "report": 2}


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 60, (4, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 2, 0])}


# --- the head ------------------------------------------------------------------------------------

HEADS = {
    "bert": "classifier",
    "roberta": "classifier.out_proj",
    "distilbert": "classifier",
    "electra": "classifier.out_proj",
    "modernbert": "classifier",
    "gpt2": "score",
    "llama": "score",
    "bart": "classification_head.out_proj",
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_head_of_a_stock_class(kind: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(kind)).eval()
    given = batch()
    if kind == "bart":  # it reads the last end of a text
        given["input_ids"][:, -1] = model.config.eos_token_id
        given["attention_mask"][:] = 1
    head = find_head(model, given, LABELS)
    assert head is not None
    assert head.name == HEADS[kind]
    assert head.bias == (kind not in ("gpt2", "llama")), "decoders have none"
    before = model.state_dict()
    with torch.inference_mode(), without_head(model, head.name):
        inputs = compute_cpu_logits(model, given)
    assert inputs.shape == (4, head.width)
    layer = model.get_submodule(head.name)
    with torch.inference_mode():
        logits = model(**{n: t for n, t in given.items() if n != "labels"}).logits
        assert torch.allclose(layer(inputs), logits, atol=1e-4)
    assert before.keys() == model.state_dict().keys()


def test_the_head_of_a_pooled_model(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "m")
    model = load_pretrained(str(tmp_path / "m"), LABEL2ID, "mean").model
    assert find_head(model, batch(), LABELS) == Head("label_head", 32)


class Own(nn.Module):
    """Somebody's: two linear layers as wide as the labels, and labels that it cannot do without."""

    def __init__(self, *, linear: bool = True) -> None:
        super().__init__()
        self.embedding, self.decoy = nn.Embedding(64, 8), nn.Linear(8, LABELS)
        self.last, self.linear = nn.Sequential(nn.ReLU(), nn.Linear(8, LABELS)), linear

    def forward(self, input_ids: torch.Tensor, attention_mask: Any, labels: torch.Tensor) -> Any:
        states = (self.embedding(input_ids) * attention_mask.unsqueeze(-1)).sum(1)
        logits = self.last(states)
        if not self.linear:
            logits = logits * self.decoy(states).sigmoid()
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def test_the_head_of_a_module_of_ones_own() -> None:
    torch.manual_seed(0)
    model = Own()
    assert find_head(model, batch(), LABELS) == Head("last.1", 8)
    assert model.training, "as it was"


class Strict(Own):
    """It looks at its own head, and at labels that it cannot do without."""

    def forward(self, input_ids: torch.Tensor, attention_mask: Any, labels: Any = None) -> Any:
        assert self.last[1].weight.ndim == 2
        return super().forward(input_ids, attention_mask, labels.view(-1))


def test_a_forward_that_does_not_bear_to_be_without_its_head() -> None:
    assert find_head(Strict(), batch(), LABELS) is None


def test_logits_that_come_from_no_linear_layer() -> None:
    assert find_head(Own(linear=False), batch(), LABELS) is None


# --- the vectors and the probe -------------------------------------------------------------------


@pytest.fixture
def one(tmp_path: Path) -> Encoded:
    return make(tmp_path / "EXP-1")


def frozen(one: Encoded, scratch: Path, told: Recording | None = None) -> Frozen:
    experiment = one.open(scratch, told)
    model = load_pretrained(str(one.directory / "model"), LABEL2ID, "mean").model
    rows = {str(name): one.prepared.rows["model"][name] for name in (Split.TRAIN, Split.VALIDATION)}
    splits = open_splits(experiment.store, experiment.layout, scratch, "./model", rows)
    head = Head("label_head", 32)
    return Frozen(
        experiment=experiment,
        name="./model",
        model=model,
        head=head,
        collate=Collator({"input_ids": 0}),
        precision="fp32",
        splits=splits,
        data_hash="0" * 64,
        team=Team(),
    )


def accuracy(logits: np.ndarray, references: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == references).mean())


def test_vectors_are_what_the_head_is_given_and_are_computed_once(
    one: Encoded, tmp_path: Path
) -> None:
    told = Recording()
    first = features(frozen(one, tmp_path / "s", told))
    given = frozen(one, tmp_path / "t", told)
    with torch.inference_mode(), without_head(given.model, "label_head"):
        given.model.eval()
        for split, data in given.splits.items():
            for row in range(0, len(data), 7):
                rows = data.batch(np.array([row]))
                expected = compute_cpu_logits(given.model, given.collate(rows))[0]
                np.testing.assert_allclose(first.vectors[split][row], expected, atol=1e-5)
    again = features(given)
    assert again.key == first.key
    assert isinstance(again.vectors["train"], np.memmap)
    assert all(np.array_equal(again.vectors[n], first.vectors[n]) for n in first.vectors)
    assert sum("are kept" in note for note in told.notes) == 1


def test_vectors_that_are_not_whole_are_computed_again(one: Encoded, tmp_path: Path) -> None:
    first = features(frozen(one, tmp_path / "s"))
    kept = next(one.store.rglob("train.npy"))
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x00")
    again = features(frozen(one, tmp_path / "t"))
    assert np.array_equal(again.vectors["train"], first.vectors["train"])


def test_what_the_vectors_depend_on_is_in_their_name(one: Encoded, tmp_path: Path) -> None:
    known = frozen(one, tmp_path / "s")
    keys = {hash_frozen_model(known)}
    with torch.no_grad():
        known.model.label_head.weight.add_(1.0)  # type: ignore[union-attr, operator]
    assert hash_frozen_model(known) in keys, "the head is what is fitted"
    with torch.no_grad():
        next(known.model.parameters()).view(-1)[0] += 1e-3
    keys.add(hash_frozen_model(known))
    keys.add(hash_frozen_model(replace(known, data_hash="1" * 64)))
    keys.add(hash_frozen_model(replace(known, precision="bf16")))
    keys.add(hash_frozen_model(replace(known, collate=Collator({"input_ids": 0}, side="left"))))
    assert len(keys) == 5
    before = hash_frozen_model(known)
    known.model.config._name_or_path = "/somewhere/else"  # type: ignore[union-attr]
    assert hash_frozen_model(known) == before, "where it was read from says nothing of it"
    one.functions("\n\ndef load_model():\n    return None\n")
    assert hash_frozen_model(known) != before, "what its forward does no weight tells"
    before = hash_frozen_model(known)
    one.settings("[user]\nPOOL = cls\n")
    assert hash_frozen_model(frozen(one, tmp_path / "u")) != before


def test_the_probe_is_logistic_regression(one: Encoded, tmp_path: Path) -> None:
    known = frozen(one, tmp_path / "s")
    found = probe_of(known, features(known), 3, accuracy, {})
    vectors = features(known).vectors
    spread = vectors["train"].std(axis=0)
    scaled = {n: (v - vectors["train"].mean(axis=0)) / spread for n, v in vectors.items()}
    theirs = LogisticRegression(C=found.facts.strength, max_iter=5000, tol=1e-6)
    theirs.fit(scaled["train"], known.splits["train"].references)
    expected = theirs.predict_proba(scaled["validation"])
    shares = torch.from_numpy(found.validation).softmax(dim=1).numpy()
    np.testing.assert_allclose(shares, expected, atol=0.02)  # it stops a little early
    known.head.fill(known.model, found.weight, found.bias)
    rows = np.arange(len(known.splits["validation"]))
    with torch.inference_mode():
        given = known.collate(known.splits["validation"].batch(rows))
        logits = known.model.eval()(**given).logits.numpy()
    np.testing.assert_allclose(logits, found.validation, atol=1e-4)


def test_a_head_without_a_bias_makes_the_same_logits(one: Encoded, tmp_path: Path) -> None:
    known = frozen(one, tmp_path / "s")
    model: Any = known.model
    model.label_head = nn.Linear(32, 3, bias=False)
    rows = np.arange(len(known.splits["validation"]))
    given = known.collate(known.splits["validation"].batch(rows))
    head = find_head(model, given, 3)
    assert head == Head("label_head", 32, bias=False)
    known = replace(known, head=head)
    found = probe_of(known, features(known), 3, accuracy, {})
    assert not found.bias.any()
    head.fill(model, found.weight, found.bias)
    with torch.inference_mode():
        logits = model.eval()(**given).logits.numpy()
    np.testing.assert_allclose(logits, found.validation, atol=1e-4)
    assert accuracy(found.validation, known.splits["validation"].references) > 0.6


def test_a_column_that_never_changes_but_by_rounding_gets_no_weight() -> None:
    """Such columns blew a weight up to 1e30, and the first step's gradient was infinite."""
    chance = np.random.default_rng(0)
    raw = chance.normal(size=(50, 3)).astype(np.float32)
    raw[:, 1] = 5.0 + 1e-6 * chance.normal(size=50)
    raw[:, 2] = 7.0
    standard = Standard.fit(raw)
    assert np.isinf(standard.scale).tolist() == [False, True, True]
    assert np.isfinite(standard.transform(raw)).all()
    assert (standard.transform(raw)[:, 1:] == 0).all()


@pytest.mark.parametrize("labels", [1, 2, 4])
def test_labels_that_train_does_not_have(one: Encoded, tmp_path: Path, labels: int) -> None:
    """`labels` of five stand in train."""
    known = frozen(one, tmp_path / "s")
    references = known.splits["train"].references % labels
    part = replace(known.splits["train"], references=references)
    known = replace(known, splits={**known.splits, "train": part})
    found = probe_of(known, features(known), 5, accuracy, {})
    assert found.weight.shape == (5, 32)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.bias).all()
    assert set(found.validation.argmax(axis=1)) <= set(range(labels))
    shares = torch.from_numpy(found.validation).softmax(dim=1)
    assert float(shares[:, labels:].max()) < 1e-6


# --- the beginning -------------------------------------------------------------------------------

SECTION = {"POOLING": "auto", "HEAD_INIT": "auto", "HEAD_LEARNING_RATE": None}
NEW = ("classifier.bias", "classifier.weight")
BELOW = (*NEW, "pooler.dense.weight")
HEAD = Head("classifier", 32)


def section(**keys: Any) -> TrainSection:
    plain: Mapping[str, Any] = {**SECTION, "LEARNING_RATE": 1e-4, "SHARDING": "none", **keys}
    found: Any = SimpleNamespace(**plain)
    return found


def built(fresh: tuple[str, ...], *, default: bool = True, head: Head | None = HEAD) -> Headed:
    return Headed(Built(nn.Linear(2, 2), default, fresh), head, Collator({}))


PACE = {"times": 10.0, "names": NEW}


@pytest.mark.parametrize(
    ("keys", "found", "expected"),
    [
        ({}, built(NEW), Beginning(None, "probe", **PACE)),
        ({"HEAD_INIT": "random"}, built(NEW), Beginning(None, "random", **PACE)),
        ({"SHARDING": "fsdp"}, built(NEW), Beginning(None, "random", **PACE)),
        # Below the head something is new, too: there is nothing pretrained to probe.
        ({}, built(BELOW), Beginning(None, "random", 10.0, BELOW)),
        # A checkpoint that is a classifier of these labels already goes on as it is.
        ({}, built(()), Beginning(None, "random")),
        ({}, built(NEW, head=None), Beginning(None, "random", **PACE)),
        ({"HEAD_LEARNING_RATE": 3e-4}, built(NEW), Beginning(None, "probe", 3.0, NEW)),
        # load_model's own model keeps its meaning unless it is asked for.
        ({}, built((), default=False), Beginning(None, "random")),
        ({"HEAD_INIT": "probe"}, built((), default=False), Beginning(None, "probe")),
        (
            {"HEAD_LEARNING_RATE": 1e-3},
            built((), default=False),
            Beginning(None, "random", 10.0, NEW),
        ),
    ],
)
def test_how_it_begins(keys: dict[str, Any], found: Headed, expected: Beginning) -> None:
    begins = resolve_head_start(section(**keys), found, RECIPE)
    assert (begins.pooling, begins.head) == (expected.pooling, expected.head)
    assert begins.names == expected.names
    assert begins.times == pytest.approx(expected.times)
    assert Beginning.from_json(begins.to_json()) == begins
    assert Beginning.from_json({}) == Beginning(None, "random", 1.0, ())  # of earlier builds


@pytest.mark.parametrize(
    ("keys", "found", "words"),
    [
        ({"HEAD_INIT": "probe"}, built(BELOW), "pooler.dense.weight"),
        ({"HEAD_INIT": "probe"}, built((), default=False, head=None), "no linear layer"),
        ({"HEAD_INIT": "probe", "SHARDING": "fsdp"}, built(NEW), "whole"),
        ({"HEAD_LEARNING_RATE": 1e-3}, built((), default=False, head=None), "no linear layer"),
    ],
)
def test_what_cannot_be_is_told(keys: dict[str, Any], found: Headed, words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_head_start(section(**keys), found, RECIPE)


def test_a_head_with_a_pace_of_its_own() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    pace = Pace(frozenset({"1.weight", "1.bias"}), 10.0)
    optimizer = make_optimizer(model, 0.1, 0.5, torch.device("cpu"), pace)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0, 0.5, 0.0]
    for step in (0, 3, 9):
        rate = learning_rate_at(step, 10, 0.1, 0.1)
        set_learning_rate(optimizer, rate)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([rate, rate, 10 * rate, 10 * rate])
    again = make_optimizer(model, 0.1, 0.5, torch.device("cpu"), pace)
    again.load_state_dict(optimizer.state_dict())
    set_learning_rate(again, 0.01)
    assert [group["lr"] for group in again.param_groups] == pytest.approx([0.01, 0.01, 0.1, 0.1])
    assert len(make_optimizer(model, 0.1, 0.5, torch.device("cpu")).param_groups) == 2


def test_the_model_as_it_began_may_stay_the_best_but_patience_is_of_the_training() -> None:
    state = RunState()
    assert state.take(0.8, {}, 0.0, "max")
    for step, value, waited, best in (
        (5, 0.5, 0, 0),
        (10, 0.6, 0, 0),
        (15, 0.55, 1, 0),
        (20, 0.9, 0, 20),
        (25, 0.85, 1, 20),
        (30, 0.86, 2, 20),
    ):
        state.step = step
        assert state.take(value, {}, step / 5, "max") == (best == step)
        assert (state.waited, state.best_step) == (waited, best), step
