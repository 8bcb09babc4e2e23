"""In which type weights are stored, held, computed with, and left: a table over all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from handful.backends.inline import Inline
from handful.errors import StepError, UserError
from handful.records import Trained
from handful.steps.test import test as run_test
from handful.steps.train import train as run_train
from handful.training.model.weight_dtypes import NAMES
from tests.support.cuts import cheap_cut
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

OWN_LOADER = """
def load_model(model_name, label2id, id2label):
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        model_name, label2id=label2id, id2label=id2label, ignore_mismatched_sizes=True{more}
    )
"""
STORED = ("fp32", "bf16", "fp16")


def stored_as(one: Encoded, dtype: str) -> dict[str, torch.Tensor]:
    """Store the experiment's model in `dtype`, its norms off their round numbers; as fp32."""
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(one.directory / "model")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    model.to(NAMES[dtype]).save_pretrained(one.directory / "model")
    return weights(one.directory / "model")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def final_of(one: Encoded) -> Path:
    return one.store / "results/full_dataset/models/model/seed-0/final"


def train(one: Encoded, scratch: Path, told: Recording | None = None) -> Trained:
    return run_train(one.open(scratch, told), one.prepared, Inline(), made_from={})


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> dict[str, float]:
    """Name → share of its numbers that a training changed, of what gets a gradient in every row.

    A key's bias has none: it shifts all scores of a query alike, and softmax does not see that.
    """
    seldom = ("classifier", "position_embeddings", "word_embeddings", "key.bias")
    return {
        name: float((before[name].float() != after[name].float()).float().mean())
        for name in before
        if not any(part in name for part in seldom)
    }


EVERY_WAY = [
    f"{stored} {precision} {final}"
    for stored in STORED
    for precision in ("fp32", "bf16")
    for final in STORED
]
QUICK = ("fp16 bf16 fp32", "bf16 fp32 bf16", "fp32 fp32 fp32", "fp32 bf16 fp16")


@pytest.mark.parametrize("way", cheap_cut(EVERY_WAY, QUICK))
def test_the_default_loader_trains_fp32_weights(way: str, tmp_path: Path) -> None:
    stored, precision, final = way.split()
    one = make(tmp_path / "EXP-1", rows={"train": 24, "validation": 12, "test": 12})
    before = stored_as(one, stored)
    one.settings(PRECISION=precision, FINAL_DTYPE=final, LEARNING_RATE="2e-5", EPOCHS="1")
    told = Recording()
    trained = train(one, tmp_path / "s", told)
    after = weights(final_of(one))
    assert {tensor.dtype for tensor in after.values()} == {NAMES[final]}
    record = json.loads((final_of(one) / "handful.json").read_text())
    assert record["weights_dtype"] == {"trained": "fp32", "final": final}
    assert f"weights here | {final}" in (final_of(one) / "README.md").read_text()
    said = any(f"stored in {stored}, trained with weights in fp32" in note for note in told.notes)
    assert said is (stored != "fp32")
    shares = moved(before, after)
    if final == "fp32":
        assert min(shares.values()) > 0.5, shares  # 2e-5 in three steps, and every number moves
    run_test(one.open(tmp_path / "t"), one.prepared, trained, Inline(), made_from={})


@pytest.mark.parametrize(("dtype", "held"), [("float32", "fp32"), ("bfloat16", "bf16")])
@pytest.mark.slow
def test_what_an_own_loader_brings_is_trained_and_left_as_it_is(
    dtype: str, held: str, tmp_path: Path
) -> None:
    one = make(tmp_path / "EXP-1", rows={"train": 24, "validation": 12, "test": 12})
    one.functions(OWN_LOADER.format(more=f", dtype='{dtype}'"))
    one.settings(LEARNING_RATE="1e-2")
    told = Recording()
    before = weights(one.directory / "model")
    trained = train(one, tmp_path / "s", told)
    record = json.loads((final_of(one) / "handful.json").read_text())
    assert record["weights_dtype"] == {"trained": held, "final": held}
    assert {tensor.dtype for tensor in weights(final_of(one)).values()} == {NAMES[held]}
    warned = [line for line in told.warnings if "gives weights in bf16" in line]
    assert len(warned) == (held == "bf16")
    assert min(moved(before, weights(final_of(one))).values()) > 0
    run_test(one.open(tmp_path / "t"), one.prepared, trained, Inline(), made_from={})


def test_fp16_weights_of_an_own_loader_are_refused_in_words(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", rows={"train": 24, "validation": 12, "test": 12})
    one.functions(OWN_LOADER.format(more=", dtype='float16'"))
    with pytest.raises(UserError, match="trainable weights in fp16") as caught:
        train(one, tmp_path / "s")
    assert "dtype=torch.float32" in str(caught.value)


def test_frozen_fp16_weights_may_stand_beside_trainable_ones(tmp_path: Path) -> None:
    from handful.training.model.weight_dtypes import check_own_weights

    model = torch.nn.Sequential(torch.nn.Linear(2, 2).half(), torch.nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert check_own_weights(model) == ""


def test_a_half_done_training_of_bf16_weights_goes_on_as_it_began(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="3", LEARNING_RATE="1e-2", CHECKPOINT_EVERY="5 steps")
    experiment = one.open(tmp_path / "s")
    interrupt_after(experiment, one, steps=20)
    in_bf16(one)
    told = Recording()
    train(one, tmp_path / "again", told)
    assert any("was begun with weights in bf16 and goes on so" in line for line in told.warnings)
    record = json.loads((final_of(one) / "handful.json").read_text())
    assert record["weights_dtype"] == {"trained": "bf16", "final": "bf16"}


def interrupt_after(experiment: Any, one: Encoded, steps: int) -> None:
    """Train so far, and leave as SIGTERM would make it leave."""
    from handful.training.loop import loop

    step = loop.Loop._step

    def counted(self: Any, indices: Any) -> None:
        step(self, indices)
        if self.state.step + 1 == steps:
            import signal

            self._stopping.heard = signal.SIGTERM

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Loop, "_step", counted)
        with pytest.raises(StepError, match="a checkpoint was written"):
            run_train(experiment, one.prepared, Inline(), made_from={})


def in_bf16(one: Encoded) -> None:
    """Turn the checkpoints into those of a build that trained what was stored in bf16."""
    from handful.training.loop.checkpoints import file_hash

    for marker in (one.store / "results").rglob("checkpoint.json"):
        path = marker.with_name("model.safetensors")
        save_file({name: x.bfloat16() for name, x in load_file(path).items()}, path)
        record = json.loads(marker.read_text())
        record["files"][path.name] = file_hash(path)
        marker.write_text(json.dumps(record))
