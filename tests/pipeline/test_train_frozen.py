"""Trainings of models whose lowest layers are frozen: what these give is computed once."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from handful.backends.inline import Inline
from handful.errors import StepError, UserError
from handful.records import Trained
from handful.steps.train import Anew
from handful.steps.train import train as run_train
from handful.training.cpu import activations
from handful.training.evaluation import features
from handful.training.loop.checkpoints import Checkpoints
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

FREEZE = """
from transformers import AutoModelForSequenceClassification

def load_model(model_name, label2id, id2label, settings):
    model = AutoModelForSequenceClassification.from_pretrained(
        model_name, num_labels=len(label2id), ignore_mismatched_sizes=True
    )
    for part in (model.bert.embeddings, model.bert.encoder.layer[0]):
        part.requires_grad_(False)
    return model
"""
SHOWN = "layers are frozen"
MADE_FROM = {"[train] EPOCHS": "2"}


def experiment(root: Path, **keys: str) -> Encoded:
    one = make(root / "EXP-1", functions=FREEZE)
    one.settings(**keys)
    return one


def train(one: Encoded, scratch: Path, told: Recording | None = None, **more: Any) -> Trained:
    opened = one.open(scratch, told)
    return run_train(opened, one.prepared, Inline(), made_from=MADE_FROM, **more)


def models(one: Encoded) -> Path:
    return one.store / "results/full_dataset/models/model"


def weights(one: Encoded, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    return load_file(models(one) / f"seed-{seed}/final/model.safetensors")


def losses(one: Encoded) -> list[float]:
    lines = map(json.loads, (models(one) / "seed-0/metrics.jsonl").read_text().splitlines())
    return [line["validation"]["loss"] for line in lines if "validation" in line]


def test_the_result_is_that_of_computing_them_each_time(tmp_path: Path) -> None:
    kept, told = experiment(tmp_path / "k"), Recording()
    train(kept, tmp_path / "s", told)
    assert [note for note in told.notes if SHOWN in note] == [
        "model: 1 of its 2 layers are frozen: what they give is computed once and kept (0 MB)"
    ]
    each, heard = experiment(tmp_path / "e", ACTIVATIONS_KEPT="none"), Recording()
    train(each, tmp_path / "t", heard)
    assert not any("computed once" in note for note in heard.notes)
    assert losses(kept) == pytest.approx(losses(each), abs=1e-4)
    mine, theirs = weights(kept), weights(each)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        np.testing.assert_allclose(tensor, theirs[name], atol=1e-3, err_msg=name)
    assert not list(models(kept).glob("activations*")), "no longer needed"


def test_more_than_the_limit_is_computed_each_time_and_told(tmp_path: Path) -> None:
    one, told = experiment(tmp_path, ACTIVATIONS_KEPT="10kB"), Recording()
    train(one, tmp_path / "s", told)
    (note,) = (note for note in told.notes if SHOWN in note)
    assert "computed in every epoch: they would take" in note
    assert "ACTIVATIONS_KEPT" in note


def test_frozen_layers_above_a_trained_one_are_computed_each_time_and_told(tmp_path: Path) -> None:
    one, told = experiment(tmp_path), Recording()
    one.functions(FREEZE.replace("model.bert.embeddings, ", "*model.bert.encoder.layer[1:], "))
    train(one, tmp_path / "s", told)
    (note,) = (note for note in told.notes if "are frozen" in note)
    assert note.endswith(
        "% of the parameters are frozen, but no lowest layers whose outputs could be kept: all is "
        "computed in each epoch"
    )


def test_seeds_share_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, computed = experiment(tmp_path, SEEDS="0, 1"), []
    own = activations._compute

    def counting(wanted: Any, split: str, local: Path) -> None:
        computed.append(split)
        own(wanted, split, local)

    monkeypatch.setattr(activations, "_compute", counting)
    train(one, tmp_path / "s")
    assert sorted(computed) == ["train", "validation"]
    first, second = weights(one, 0), weights(one, 1)
    frozen = "bert.encoder.layer.0.output.dense.weight"
    assert np.array_equal(first[frozen], second[frozen])
    trained = "bert.encoder.layer.1.output.dense.weight"
    assert not np.array_equal(first[trained], second[trained])


@pytest.mark.parametrize("keys", [{}, {"ACTIVATIONS_KEPT": "none"}], ids=["kept", "each time"])
def test_an_interrupted_training_ends_bit_for_bit(
    tmp_path: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = experiment(tmp_path / "w", **keys)
    train(whole, tmp_path / "s")
    cut, own = experiment(tmp_path / "c", CHECKPOINT_EVERY="5 steps", **keys), Checkpoints.save

    def stopping(self: Any, *args: Any, **more: Any) -> None:
        own(self, *args, **more)
        raise StepError("the lights went out")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", stopping)
        for _ in range(2):
            with pytest.raises(StepError, match="lights"):
                train(cut, tmp_path / "t")
    train(cut, tmp_path / "u")
    mine, theirs = weights(cut), weights(whole)
    assert all(np.array_equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_a_training_of_an_earlier_build_goes_on_with_its_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints say nothing of frozen layers."""
    one, own = experiment(tmp_path, CHECKPOINT_EVERY="5 steps"), Checkpoints.save

    def as_before(self: Any, *args: Any, **more: Any) -> None:
        about = args[-1]["beginning"]
        del about["frozen"], about["kept"]
        own(self, *args, **more)
        raise StepError("the lights went out")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", as_before)
        with pytest.raises(StepError, match="lights"):
            train(one, tmp_path / "t")
    told = Recording()
    train(one, tmp_path / "u", told)
    assert not any(SHOWN in note for note in told.notes)
    again = Recording()
    train(one, tmp_path / "v", again, anew=Anew.EVERYTHING)
    assert any(SHOWN in note for note in again.notes)


def test_damaged_ones_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, own = experiment(tmp_path, SEEDS="0, 1"), activations._fetch_activations
    counted = []

    def damaging(wanted: Any, folder: str) -> Any:
        counted.append(folder)
        if len(counted) == 3:  # the second seed's first look
            (path,) = (one.store / folder).glob("0/train.states")
            data = bytearray(path.read_bytes())
            data[100] ^= 1
            path.write_bytes(data)
            assert own(wanted, folder) is None
            return None
        return own(wanted, folder)

    monkeypatch.setattr(activations, "_fetch_activations", damaging)
    train(one, tmp_path / "s")
    straight = experiment(tmp_path / "x", SEEDS="0, 1")
    monkeypatch.setattr(activations, "_fetch_activations", own)
    train(straight, tmp_path / "y")
    assert all(np.array_equal(t, weights(straight, 1)[n]) for n, t in weights(one, 1).items())


def test_bfloat16_is_kept_as_it_is(tmp_path: Path) -> None:
    kept = experiment(tmp_path / "k", PRECISION="bf16")
    train(kept, tmp_path / "s")
    each = experiment(tmp_path / "e", PRECISION="bf16", ACTIVATIONS_KEPT="none")
    train(each, tmp_path / "t")
    assert losses(kept) == pytest.approx(losses(each), abs=0.02)


def test_all_of_the_encoder_may_be_frozen(tmp_path: Path) -> None:
    one, told = experiment(tmp_path), Recording()
    one.functions(FREEZE.replace("model.bert.encoder.layer[0]", "model.bert.encoder"))
    train(one, tmp_path / "s", told)
    assert any("2 of its 2 layers are frozen: what they give is computed" in n for n in told.notes)
    each = experiment(tmp_path / "e", ACTIVATIONS_KEPT="none")
    each.functions(FREEZE.replace("model.bert.encoder.layer[0]", "model.bert.encoder"))
    train(each, tmp_path / "t")
    assert losses(one) == pytest.approx(losses(each), abs=1e-4)


def test_what_was_kept_and_cannot_be_any_more_is_told_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, own = experiment(tmp_path, CHECKPOINT_EVERY="5 steps"), Checkpoints.save

    def stopping(self: Any, *args: Any, **more: Any) -> None:
        own(self, *args, **more)
        raise StepError("the lights went out")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", stopping)
        with pytest.raises(StepError, match="lights"):
            train(one, tmp_path / "t")
    one.settings(CHECKPOINT_EVERY="5 steps", ACTIVATIONS_KEPT="none")
    with pytest.raises(UserError, match="kept, and now they cannot be"):
        train(one, tmp_path / "u")
    told = Recording()
    train(one, tmp_path / "v", told, anew=Anew.NOTHING_THAT_WAS_BEGUN)
    assert any("now they are computed in every epoch" in warning for warning in told.warnings)


@pytest.mark.parametrize(
    ("place", "name"),
    [(activations, "states_of"), (features, "compute_cpu_logits")],
    ids=["frozen layers", "the head's vectors"],
)
def test_a_stop_is_heard_before_the_first_step(
    place: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, own = experiment(tmp_path, HEAD_INIT="probe"), getattr(place, name)

    def stopping(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return own(*args)

    with monkeypatch.context() as patched:
        patched.setattr(place, name, stopping)
        with pytest.raises(StepError, match="stopped by SIGTERM before the first step"):
            train(one, tmp_path / "s")
    train(one, tmp_path / "t")
