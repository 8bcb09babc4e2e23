"""The frozen part of a model: where it ends, and the same answers without computing it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForSequenceClassification, ViTConfig, ViTForImageClassification

from handful.training.cpu.activations import Activations, _activation_bits
from handful.training.data.collate import Collator
from handful.training.data.splits import STATES, SplitData, as_split
from handful.training.model.frozen_layers import (
    FrozenLayers,
    call_with_states,
    find_frozen_layers,
    hold_frozen_layers_in_eval,
    join_row_states,
    passing,
    states_of,
)
from tests.support.architectures import LABELS, TEXT, tiny_config

ROWS = np.array([0, 1], np.int64)
LENGTHS = (5, 9, 7)


def texts(*, masked: bool = True) -> SplitData:
    draw = np.random.default_rng(0)
    ids = [draw.integers(3, 60, length).tolist() for length in LENGTHS]
    for row in ids:
        row[-1] = 2  # the end of a text, for those that look for it
    rows: dict[str, Any] = {"input_ids": ids, "labels": [0, 1, 2], "length": list(LENGTHS)}
    if masked:
        rows["attention_mask"] = [[1] * len(row) for row in ids]
    return as_split(Dataset.from_dict({**rows, "artifact_id": ["a", "b", "c"]}))


def first_list(model: nn.Module) -> nn.ModuleList:
    """The one with the most parameters."""
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=lambda part: sum(p.numel() for p in part.parameters()))


def freeze(model: nn.Module, layers: int) -> None:
    """All that comes before the layer `layers` of the largest list, embeddings included."""
    upper = {id(p) for layer in first_list(model)[layers:] for p in layer.parameters()}
    lower = {id(p) for layer in first_list(model)[:layers] for p in layer.parameters()}
    for name, parameter in model.named_parameters():
        embeds = "embed" in name or "wte" in name or "wpe" in name
        if (id(parameter) in lower or embeds) and id(parameter) not in upper:
            parameter.requires_grad_(False)


# How many layers are found, of those that are frozen: their first. None: it is computed each time.
FOUND = {
    "bert": 1,
    "roberta": 1,
    "distilbert": 1,
    "electra": 1,
    "mpnet": None,  # its layers are given a bias of positions that is trained
    "deberta-v2": 1,
    "modernbert": 1,
    "gpt2": 1,
    "llama": 1,
    "qwen2": 1,
    "xlm-roberta": 1,
    "albert": None,  # its layers are one
    "t5": None,  # its layers hand on more than states
    "fnet": None,  # it sees padding
}


BOTH_SIDES = {"llama", "qwen2"}
"""Others count positions from the left, padding or not, or classify by the first."""


def model_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    config = tiny_config(kind)
    model: nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model


@pytest.mark.parametrize("kind", [kind for kind in TEXT if kind in FOUND])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_passes_over_its_frozen_layers_learns_the_same(kind: str, side: str) -> None:
    model, data = model_of(kind), texts()
    freeze(model, 1)
    collate = Collator({}, side=side)
    frozen = find_frozen_layers(model, data, collate, ROWS)
    assert model.training, "as it was"
    expected = FOUND[kind] if side == "right" or kind in BOTH_SIDES else None
    assert (len(frozen.layers) if frozen else None) == expected
    if frozen is None:
        return
    assert FrozenLayers.from_json(frozen.to_json()) == frozen
    model.eval()
    everything = np.arange(len(data), dtype=np.int64)
    batch = collate(data.batch(everything))
    alone = [
        states_of(model, frozen, collate(data.batch(everything[n : n + 1])), "fp32")[0].clone()
        for n in range(len(data))
    ]
    assert [len(row) for row in alone] == list(LENGTHS)

    def gradients(given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        model.train()
        torch.manual_seed(3)
        output = call_with_states(model, given)
        output.loss.backward()
        found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return output.logits.detach(), found

    with hold_frozen_layers_in_eval(model, frozen):
        logits, wanted = gradients(batch)
    counted: list[str] = []
    part = model.get_submodule(frozen.last)
    inner = next(child for child in part.modules() if isinstance(child, nn.Linear | nn.LayerNorm))
    inner.register_forward_hook(lambda *_: counted.append("computed"))
    with hold_frozen_layers_in_eval(model, frozen), passing(model, frozen):
        found_logits, found = gradients({**batch, STATES: join_row_states(alone, batch)})
        assert not counted
        call_with_states(model, batch)
        assert counted, "without them it computes them"
    assert torch.allclose(logits, found_logits, atol=1e-5)
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(gradient, found[name], atol=1e-5), name


def test_dropout_is_off_in_the_frozen_part_alone() -> None:
    model, data = model_of("bert"), texts()
    freeze(model, 1)
    frozen = find_frozen_layers(model, data, Collator({}), ROWS)
    assert frozen is not None
    assert set(frozen.still) == {"bert.embeddings", frozen.last}
    with hold_frozen_layers_in_eval(model, frozen):
        for mode in (True, False, True):
            model.train(mode)
            still = [part for name in frozen.still for part in model.get_submodule(name).modules()]
            assert not any(part.training for part in still)
            assert model.training is mode
            assert first_list(model)[1].training is mode
    model.train()
    assert all(part.training for part in model.modules()), "as it was"


def test_nothing_is_frozen_or_only_what_stands_above() -> None:
    model, data = model_of("bert"), texts()
    assert find_frozen_layers(model, data, Collator({}), ROWS) is None
    for parameter in first_list(model)[1].parameters():
        parameter.requires_grad_(False)
    assert find_frozen_layers(model, data, Collator({}), ROWS) is None
    freeze(model, 1)
    found = find_frozen_layers(model, data, Collator({}), ROWS)
    assert found is not None
    assert len(found.layers) == len(first_list(model)), "all of the encoder"


def test_a_trained_embedding_leaves_nothing_to_keep() -> None:
    model, data = model_of("bert"), texts()
    freeze(model, 1)
    model.get_submodule("bert.embeddings.LayerNorm").requires_grad_(True)
    assert find_frozen_layers(model, data, Collator({}), ROWS) is None


def test_images_have_no_mask() -> None:
    torch.manual_seed(0)
    small: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = ViTConfig(**small, intermediate_size=32, image_size=32, num_labels=LABELS)
    model = ViTForImageClassification(config)
    freeze(model, 2)
    pixels = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    rows = {"pixel_values": pixels.tolist(), "labels": [0, 1, 2], "artifact_id": ["a", "b", "c"]}
    found = find_frozen_layers(model, as_split(Dataset.from_dict(rows)), Collator({}), ROWS)
    assert found is not None
    assert len(found.layers) == 2
    assert (found.masked, found.width) == (False, 32)


class Layer(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), norm(8) if norm else None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = states + self.linear(states).relu()
        return self.norm(states.mT).mT if self.norm else states


class Own(nn.Module):
    """Somebody's: a list of layers, and what may go wrong with it."""

    def __init__(self, fault: str = "", norm: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.side = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.embedding = nn.Embedding(64, 8)
        self.layers = nn.ModuleList(Layer(norm) for _ in range(3))
        self.exit, self.head = nn.Linear(8, LABELS), nn.Linear(8, LABELS)
        if fault == "mixes, head of zeros":
            nn.init.zeros_(self.head.weight)

    def forward(self, input_ids: torch.Tensor, attention_mask: Any, labels: Any = None) -> Any:
        side = self.side(attention_mask.sum(1, keepdim=True).float()) if self.fault == "side" else 0
        if self.training and self.fault == "changes words in training":
            input_ids = torch.where(torch.rand(input_ids.shape) > 0.3, input_ids, 0)
        states, seen = self.embedding(input_ids), []
        mask = attention_mask.unsqueeze(-1)
        for layer in self.layers:
            states = layer(states)
            seen.append(states)
        if "mixes" in self.fault:
            states = torch.stack(seen).sum(0)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1) + side
        logits = self.head(pooled)
        loss = nn.functional.cross_entropy(logits, labels)
        if self.fault == "a loss of a lower layer":
            early = (seen[0] * mask).sum(1) / mask.sum(1)
            loss = loss + nn.functional.cross_entropy(self.exit(early), labels)
        return SimpleNamespace(loss=loss, logits=logits)


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: Own(), 2),
        (lambda: Own("side"), 2),
        (lambda: Own("mixes"), None),  # what it would be given for the first is the second's
        (lambda: Own("mixes, head of zeros"), None),  # its logits are the same, not what it learns
        (lambda: Own("a loss of a lower layer"), None),
        (lambda: Own("changes words in training"), None),
        (lambda: Own(norm=nn.BatchNorm1d), None),  # its means move without a gradient
    ],
)
def test_a_module_of_ones_own(make: Callable[[], Own], layers: int | None) -> None:
    torch.manual_seed(0)
    model = make()
    freeze(model, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = find_frozen_layers(model, texts(), Collator({}), ROWS)
    assert (len(found.layers) if found else None) == layers
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    if found is not None:
        assert set(found.still) == {"embedding", *found.layers}, "and nothing that learns"


def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    torch.manual_seed(0)
    model, data = Own(), texts()
    freeze(model, 2)
    own = model.layers[0].forward
    vars(model.layers[0])["forward"] = lambda states: own(states) * 2
    batch = Collator({})(data.batch(ROWS))
    wanted = model(**batch).logits
    found = find_frozen_layers(model, data, Collator({}), ROWS)
    assert found is not None
    assert torch.equal(model(**batch).logits, wanted)
    with passing(model, found):
        pass
    assert torch.equal(model(**batch).logits, wanted)


@pytest.mark.parametrize("made", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kept", ["float32", "bfloat16", "float16"])
def test_what_is_kept_is_read_as_it_was(made: torch.dtype, kept: str) -> None:
    """Under autocast a layer may give half precision where it gives fp32 without."""
    states = torch.tensor([[1.5, -2.0], [0.25, 96.0], [3.0, 0.0]], dtype=made)
    bits = _activation_bits(states, kept)
    part, start, count = (np.array(one, np.int64) for one in ([0, 0], [0, 2], [2, 1]))
    found = Activations((bits,), part, start, count, getattr(torch, kept))
    mask = torch.tensor([[1, 1], [0, 1]])
    batch = found.of(np.array([1, 0], np.int64), {"attention_mask": mask.flip(0)})
    assert batch.dtype == getattr(torch, kept)
    assert torch.equal(batch[0].float(), torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    assert torch.equal(batch[1].float(), states[:2].float())


def test_a_batch_without_mask_needs_rows_of_one_length() -> None:
    rows = [torch.ones(3, 2), torch.zeros(3, 2)]
    assert join_row_states(rows, {}).shape == (2, 3, 2)
    with pytest.raises(ValueError, match="different lengths"):
        join_row_states([*rows, torch.ones(4, 2)], {})
