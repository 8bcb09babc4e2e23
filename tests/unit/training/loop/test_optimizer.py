"""The optimizer's groups, the schedule, the loss, and the choice of precision."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from handful.errors import UserError
from handful.training.loop import precision
from handful.training.loop.objective import Objective, compute_label_weights
from handful.training.loop.optimizer import learning_rate_at, make_optimizer

CPU = torch.device("cpu")


def test_biases_and_norms_are_not_decayed_and_the_frozen_stay_out() -> None:
    model = torch.nn.Sequential(
        torch.nn.Embedding(5, 4),
        torch.nn.LayerNorm(4),
        torch.nn.Linear(4, 2),
        torch.nn.Linear(2, 2),
    )
    model[3].requires_grad_(False)
    groups = make_optimizer(model, 0.1, 0.5, CPU).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [
        (0.5, 2),
        (0.0, 3),
    ]


def test_the_learning_rate_rises_then_falls_and_is_never_zero() -> None:
    rates = [learning_rate_at(step, 100, 2.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(2.0 / 90)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_no_warmup_and_nothing_else(warmup: float) -> None:
    rates = [learning_rate_at(step, 4, 1.0, warmup) for step in range(4)]
    assert rates == ([1.0, 0.75, 0.5, 0.25] if warmup == 0 else [0.25, 0.5, 0.75, 1.0])


def test_the_models_own_loss_counts_unless_more_is_asked() -> None:
    batch = {"labels": torch.tensor([0, 1])}
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.1]])
    output = SimpleNamespace(loss=torch.tensor(7.0), logits=logits)
    assert Objective()(output, batch) == 7.0
    # By hand: 0.9 on the true label and 0.1 spread evenly, smoothing 0.2 over two labels.
    log_p = torch.log_softmax(logits, 1)
    expected = -(0.9 * log_p[[0, 1], [0, 1]] + 0.1 * log_p[[0, 1], [1, 0]]).mean()
    assert torch.isclose(Objective(smoothing=0.2)(output, batch), expected)
    weights = torch.tensor([3.0, 1.0])
    expected = -(3 * log_p[0, 0] + log_p[1, 1]) / 4
    assert torch.isclose(Objective(weights=weights)(output, batch), expected)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    references = np.array([0] * 7 + [1] * 2 + [3])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=references)
    weights = compute_label_weights(references, 4)
    assert weights[[0, 1, 3]].tolist() == pytest.approx(expected.tolist())
    assert weights[2] == 0


def test_precision_as_it_was_asked() -> None:
    assert precision.resolve("fp32", CPU) == "fp32"
    assert precision.resolve("bf16", CPU) == "bf16"
    with pytest.raises(UserError, match="GPUs only"):
        precision.resolve("fp16", CPU)


@pytest.mark.parametrize(("speedup", "chosen"), [(2.0, "bf16"), (1.05, "fp32"), (0.3, "fp32")])
def test_auto_takes_bf16_only_where_it_is_clearly_faster(monkeypatch, speedup, chosen) -> None:
    monkeypatch.setattr(precision, "_has_bf16_instructions", lambda: True)
    monkeypatch.setattr(precision, "bf16_speedup", lambda: speedup)
    assert precision.resolve("auto", CPU) == chosen


def test_auto_does_not_even_try_without_the_instructions(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr(precision, "bf16_speedup", lambda: pytest.fail("probed"))
    assert precision.resolve("auto", CPU) == "fp32"


@pytest.mark.slow
def test_the_probe_measures_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    assert 0.001 < precision.bf16_speedup() < 1000
    assert torch.equal(before, torch.get_rng_state())
