"""Who may take a batch in parts: only whose loss is known, or who says so."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn

from handful.errors import UserError
from handful.training.cpu.micro_batches import CACHED, is_known, positions_at_once
from tests.support.classifiers import classifier

LONG, SHORT = CACHED, 8
"""Lengths of which two examples are too many for the caches, and of which they are not."""


class Own(nn.Module):
    """A class of the user's, however plain."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, **batch: Any) -> Any:
        return self.inner(**batch)


def with_loss() -> nn.Module:
    """A stock classifier whose loss was replaced as Transformers allows it."""
    model = classifier("ModernBert")
    model.loss_function = lambda logits, labels, **_: logits.sum()
    return model


def with_forward() -> nn.Module:
    model = classifier()
    model.forward = MethodType(lambda self, **batch: type(self).forward(self, **batch), model)
    return model


def with_part() -> nn.Module:
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.mean(dim=0)

    model = classifier()
    model.dropout = Mixing()
    return model


def with_hook() -> nn.Module:
    model = classifier()
    model.bert.register_forward_hook(lambda *_: None)
    return model


def for_several_labels() -> nn.Module:
    model = classifier()
    model.config.problem_type = "multi_label_classification"
    return model


def adapted() -> nn.Module:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(target_modules=["query"], task_type="SEQ_CLS")
    found: nn.Module = peft.get_peft_model(classifier(), lora)
    return found


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Roberta", "Electra", "ModernBert"])
def test_a_stock_classifier_is_known(kind: str) -> None:
    model = classifier(kind)
    assert is_known(model)
    assert positions_at_once(model, "auto", LONG, 2) == CACHED
    assert positions_at_once(model, "off", LONG, 2) == 0


def test_an_adapted_one_is_known() -> None:
    assert is_known(adapted())


@pytest.mark.parametrize(
    "build", [Own, with_loss, with_forward, with_part, with_hook, for_several_labels]
)
def test_all_else_stays_whole_unless_it_is_asked_for(build: Callable[[], nn.Module]) -> None:
    model = build()
    assert not is_known(model)
    assert positions_at_once(model, "auto", LONG, 2) == 0
    assert positions_at_once(model, "auto", SHORT, 2) == CACHED, "nothing would be cut"
    assert positions_at_once(model, "on", LONG, 2) == CACHED


def test_batch_norm_needs_its_batch() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert positions_at_once(model, "auto", LONG, 2) == 0
    with pytest.raises(UserError, match="batch norm"):
        positions_at_once(model, "on", LONG, 2)
