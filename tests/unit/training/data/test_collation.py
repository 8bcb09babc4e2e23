"""Side, mask and lengths, as each model needs them, found by trying."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from datasets import Dataset, Features, List, Value
from torch import nn

from handful.errors import UserError
from handful.training.data.collate import Collator
from handful.training.data.collation import (
    Trial,
    collation,
    collator_from_record,
    give_padding_token,
)
from handful.training.data.splits import SplitData, as_split
from handful.training.model.capabilities import check_forward, check_trainable
from tests.support.classifiers import classifier
from tests.support.progress import Recording

LENGTHS = (3, 7, 5, 11)


def rows(*, mask: bool = True, lengths: tuple[int, ...] = LENGTHS, high: int = 49) -> SplitData:
    draw = np.random.default_rng(0)
    ids = [draw.integers(2, high, n).tolist() for n in lengths]
    columns: dict[str, Any] = {"input_ids": ids, "labels": [n % 3 for n in range(len(ids))]}
    features = Features(input_ids=List(Value("int32")), labels=Value("int64"))
    if mask:
        columns["attention_mask"] = [[1] * len(one) for one in ids]
        features["attention_mask"] = List(Value("int8"))
    columns["length"] = list(lengths)
    columns["artifact_id"] = [f"a{n}" for n in range(len(ids))]
    features |= {"length": Value("int32"), "artifact_id": Value("string")}
    return as_split(Dataset.from_dict(columns, features=Features(features)))


def found(model: nn.Module, data: SplitData, told: Recording, tokenizer: Any = None) -> Collator:
    return collation(model, tokenizer, Trial(data, 3, Path(), told, "m"))


def alone_and_together(model: nn.Module, data: SplitData, collate: Collator) -> float:
    """The greatest difference of a row's logits alone and in the batch of all."""
    model.eval()
    everything = np.arange(len(data), dtype=np.int64)
    with torch.inference_mode():
        together = model(**collate(data.batch(everything))).logits
        alone = [model(**collate(data.batch(everything[n : n + 1]))).logits for n in everything]
    return float((together - torch.cat(alone)).abs().max())


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Electra", "ModernBert"])
@pytest.mark.parametrize("mask", [True, False])
def test_a_row_does_not_mind_its_neighbours(kind: str, mask: bool) -> None:
    model, data, told = classifier(kind), rows(mask=mask), Recording()
    collate = found(model, data, told)
    assert collate.adds_mask is not mask
    assert collate.side == "right"
    assert not collate.equal_lengths
    assert alone_and_together(model, data, collate) < 1e-4
    assert any("attention mask is made" in note for note in told.notes) is not mask


def xlnet() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.XLNetConfig(
        vocab_size=50, d_model=32, n_layer=2, n_head=4, d_inner=64, num_labels=3
    )
    return transformers.XLNetForSequenceClassification(config)


@pytest.mark.parametrize("side", ["left", "right"])
def test_xlnet_is_padded_on_the_left_whatever_its_tokenizer_says(side: str) -> None:
    model, data = xlnet(), rows()
    collate = found(model, data, Recording(), SimpleNamespace(padding_side=side, pad_token_id=5))
    assert collate.side == "left"
    assert alone_and_together(model, data, collate) < 1e-4


def gpt2(**more: Any) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=32, n_layer=2, n_head=4, num_labels=3, **more
    )
    return transformers.GPT2ForSequenceClassification(config)


def test_a_decoder_without_a_padding_token_takes_its_tokenizers() -> None:
    model = gpt2()
    assert model.config.pad_token_id is None
    give_padding_token(model, SimpleNamespace(pad_token_id=7))
    assert model.config.pad_token_id == 7
    assert alone_and_together(model, rows(), found(model, rows(), Recording())) < 1e-4


def test_where_nobody_names_one_the_line_to_write_is_said() -> None:
    with pytest.raises(UserError, match="pad_token_id, for a decoder usually to its eos_token_id"):
        found(gpt2(), rows(), Recording())


def fnet() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.FNetConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, intermediate_size=64, num_labels=3
    )
    return transformers.FNetForSequenceClassification(config)


def test_a_model_that_sees_padding_gets_batches_of_one_length() -> None:
    model, told = fnet(), Recording()
    collate = found(model, rows(mask=False), told)
    assert collate.equal_lengths
    assert any("FNetForSequenceClassification sees padding" in note for note in told.notes)


def big_bird(length: int) -> tuple[nn.Module, SplitData]:
    torch.manual_seed(0)
    config = transformers.BigBirdConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,
        block_size=4,
        num_random_blocks=1,
        max_position_embeddings=128,
    )
    return transformers.BigBirdForSequenceClassification(config), rows(lengths=(5, length))


@pytest.mark.parametrize(("length", "kind"), [(20, "original_full"), (40, "block_sparse")])
def test_big_bird_keeps_the_attention_that_it_begins_with(length: int, kind: str) -> None:
    model, data = big_bird(length)
    collate = found(model, data, Recording())
    assert (collate.least > 0) is (kind == "block_sparse")
    with torch.inference_mode():
        for number in range(2):
            model(**collate(data.batch(np.array([number]))))
    assert model.bert.attention_type == model.config.attention_type == kind


@pytest.mark.parametrize("axial", [False, True])
def test_reformer_gets_whole_chunks(axial: bool) -> None:
    torch.manual_seed(0)
    config = transformers.ReformerConfig(
        vocab_size=50,
        hidden_size=32,
        attention_head_size=8,
        num_attention_heads=4,
        attn_layers=["local", "lsh"],
        local_attn_chunk_length=4,
        lsh_attn_chunk_length=8,
        num_buckets=2,
        hash_seed=0,
        feed_forward_size=64,
        max_position_embeddings=64,
        axial_pos_embds=axial,
        axial_pos_shape=(4, 8),
        axial_pos_embds_dim=(16, 16),
        is_decoder=False,
        num_labels=3,
        pad_token_id=0,
    )
    model, data = transformers.ReformerForSequenceClassification(config), rows()
    collate = found(model, data, Recording())
    assert collate.multiple == (32 if axial else 8)
    batch = collate(data.batch(np.arange(len(data))))
    assert batch["input_ids"].shape == (4, 32 if axial else 16)
    assert model.train()(**batch).loss.isfinite()


def test_where_half_precision_cannot_be_it_is_said_before_training() -> None:
    from handful.training.loop.precision import resolve

    model = classifier("Deberta", "eager")
    with pytest.raises(UserError, match=r"(?s)Deberta.* cannot compute in bf16.*write fp32"):
        check_forward(model, rows(), Collator({"input_ids": 0}), 3, Path(), "bf16")
    check_forward(classifier("Bert"), rows(), Collator({"input_ids": 0}), 3, Path(), "bf16")
    assert resolve("auto", torch.device("cuda"), "deberta") == "fp32"


class Own(nn.Module):
    """The mean over all positions: those of the padding too, unless it is given a mask."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.inside, self.head, self.masked = nn.Embedding(50, 8), nn.Linear(8, 3), masked

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
        mask = (attention_mask if self.masked else torch.ones_like(input_ids)).unsqueeze(-1)
        logits = self.head((self.inside(input_ids) * mask).sum(1) / mask.sum(1))
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


class Maskless(Own):
    def forward(self, input_ids: Any, labels: Any) -> Any:  # type: ignore[override]
        return super().forward(input_ids, torch.ones_like(input_ids), labels)


def test_an_own_model_that_reads_padding_in_spite_of_a_mask_is_told() -> None:
    told = Recording()
    assert not found(Own(masked=False), rows(), told).equal_lengths
    assert any("reads padding; let forward ignore what the mask" in w for w in told.warnings)
    told = Recording()
    found(Own(masked=True), rows(), told)
    assert not told.warnings


def test_an_own_model_that_takes_no_mask_and_reads_padding_is_refused() -> None:
    with pytest.raises(UserError, match="no attention_mask, and Maskless reads the padding") as e:
        found(Maskless(masked=False), rows(mask=False), Recording())
    assert "get_dataset_features" in str(e.value)
    found(
        Maskless(masked=False), rows(mask=False, lengths=(5, 5)), Recording()
    )  # nothing is padded


def test_the_collation_stands_in_the_record() -> None:
    one = Collator({"input_ids": 3}, side="left", adds_mask=True, least=7, equal_lengths=True)
    assert collator_from_record({"collation": one.to_json()}, nn.Linear(1, 1), None) == one
    assert collator_from_record({}, nn.Linear(1, 1), None) == Collator({"input_ids": 0})


def test_a_mask_is_made_on_either_side() -> None:
    table = pa.table({"input_ids": pa.array([[4, 5], [6], [7, 8, 9]], pa.list_(pa.int32()))})
    right = Collator({"input_ids": 1}, adds_mask=True)(table)
    assert right["attention_mask"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    left = Collator({"input_ids": 1}, side="left", adds_mask=True, least=4)(table)
    assert left["input_ids"].tolist() == [[1, 1, 4, 5], [1, 1, 1, 6], [1, 7, 8, 9]]
    assert left["attention_mask"].tolist() == [[0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 1, 1]]
    chunks = Collator({"input_ids": 1}, adds_mask=True, multiple=4)(table)
    assert chunks["input_ids"].tolist() == [[4, 5, 1, 1], [6, 1, 1, 1], [7, 8, 9, 1]]
    assert chunks["attention_mask"].sum().item() == 6


# --- what is found out before training -----------------------------------------------------------


def tried(model: nn.Module, **more: Any) -> None:
    check_forward(model, rows(**more), Collator({"input_ids": 0}), 3, Path())


def test_a_model_without_a_trainable_weight_is_refused() -> None:
    model = Own(masked=True).requires_grad_(False)
    with pytest.raises(UserError, match=r"(?s)no weight of Own is trainable.*the head"):
        check_trainable(model)
    model.head.requires_grad_(True)
    check_trainable(model)


class Faulty(Own):
    def __init__(self, fault: str) -> None:
        super().__init__(masked=True)
        self.fault = fault

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
        if self.fault == "raises":
            raise ValueError("what is this")
        answer = super().forward(input_ids, attention_mask, labels)
        if self.fault == "detached":
            answer.loss = answer.loss.detach()
        if self.fault == "matrix":
            answer.loss = answer.logits
        if self.fault == "narrow":
            answer.logits = answer.logits[:, :2]
        return answer


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("raises", "ValueError: what is this"),
        ("detached", "a loss that no weight has a part in"),
        ("matrix", r"a loss of shape \[2, 3\]"),
        ("narrow", r"logits of shape \[2, 2\]"),
    ],
)
def test_faults_of_forward_are_found_before_training(fault: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        tried(Faulty(fault))
    assert caught.value.exit_status == 2


def test_ids_beyond_the_vocabulary_are_named() -> None:
    with pytest.raises(UserError, match=r"input_ids go from \d+ to \d+, and .* knows 0 to 49"):
        tried(classifier("Bert"), high=80, lengths=(60, 60))


def test_the_longest_rows_are_tried() -> None:
    model = classifier("Bert", max_position_embeddings=16)
    tried(model, lengths=(3, 16, 5))
    with pytest.raises(UserError, match="forward"):
        tried(model, lengths=(3, 17, 5))
