"""Dropout and attention as they are computed in training on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from handful.training.cpu import attention as attending
from handful.training.cpu import kernel_check, kernels
from handful.training.cpu.dropout import dropout, is_drawn, scale_of
from handful.training.cpu.kernels import cpu_kernels, use_cpu_kernels
from tests.support.progress import Recording

CPU = torch.device("cpu")
Tensor = torch.Tensor


def quick() -> Any:
    return cpu_kernels(CPU, compiled=False)


# --- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0001, 0.1, 0.5, 0.93])
def test_elements_are_dropped_at_their_rate_and_the_others_scaled(rate: float) -> None:
    torch.manual_seed(1)
    thinned = dropout(torch.ones(1000, 1001), rate)
    share = float((thinned == 0).double().mean())
    deviation = math.sqrt(rate * (1 - rate) / thinned.numel())
    assert abs(share - rate) < 5 * deviation + 2**-17
    assert thinned.unique().tolist() == pytest.approx([0.0, scale_of(rate)])
    assert float(thinned.double().mean()) == pytest.approx(1, abs=6 * deviation / (1 - rate))


def test_what_is_dropped_does_not_depend_on_its_neighbours_or_place() -> None:
    """Four elements share a word of random bits: pairs at any distance are dropped together as
    often as if they were strangers, and each place in a word as often as the others."""
    torch.manual_seed(2)
    gone = (dropout(torch.ones(2_000_000), 0.25) == 0).double()
    deviation = math.sqrt(0.0625 * (1 - 0.0625) / len(gone))
    for distance in (1, 2, 3, 4, 5, 64):
        together = float((gone[distance:] * gone[:-distance]).mean())
        assert abs(together - 0.0625) < 6 * deviation, distance
    places = gone.view(-1, 4).mean(0)
    assert float((places - 0.25).abs().max()) < 6 * math.sqrt(0.1875 / (len(gone) / 4))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_the_gradient_goes_where_the_values_went(kind: torch.dtype) -> None:
    values = torch.randn(7, 33, dtype=kind, requires_grad=True)
    thinned = dropout(values, 0.3)
    assert thinned.dtype == kind
    thinned.sum().backward()
    assert values.grad is not None
    kept = thinned != 0
    scale = torch.tensor(scale_of(0.3), dtype=kind)
    assert torch.equal(values.grad, torch.where(kept, scale, torch.zeros((), dtype=kind)))
    assert torch.equal(thinned[kept], (values * scale)[kept])


def test_torchs_generator_decides() -> None:
    """So a checkpoint that holds its state goes on with the same draws."""
    values = torch.ones(1001)
    torch.manual_seed(3)
    first, state = dropout(values, 0.5), torch.get_rng_state()
    second = dropout(values, 0.5)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values, 0.5), second)


@pytest.mark.parametrize(
    ("rate", "drawn"), [(0.0, False), (1e-6, False), (0.1, True), (1.0, False)]
)
def test_nothing_is_drawn_where_all_or_nothing_goes(rate: float, drawn: bool) -> None:
    assert is_drawn(rate) == drawn


# --- attention -----------------------------------------------------------------------------------


def plain(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, kept: Tensor, scale: float) -> Any:
    """The formula, with a given choice of what is kept."""
    scores = q @ k.mT * scale
    if added is not None:
        scores = scores + added
    return (torch.softmax(scores, -1) * kept) @ v


SIZES = B, H, QUERIES, KEYS = 3, 4, 5, 7
MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "padding": lambda: (torch.arange(KEYS) < KEYS - 2).expand(B, 1, QUERIES, KEYS),
    "of each example": lambda: torch.rand(B, 1, 1, KEYS).index_fill(3, torch.tensor(0), 0) < 0.8,
    "by head": lambda: torch.randn(SIZES, dtype=torch.float64),
    "for all": lambda: torch.randn(QUERIES, KEYS, dtype=torch.float64),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("at_once", [1, 60, 200, 1 << 19])
def test_attention_is_the_formula_with_its_own_draws(
    mask: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers and gradients, whatever is computed at once: some heads, or some examples."""
    monkeypatch.setattr(attending, "AT_ONCE", at_once)
    torch.manual_seed(4)
    q = torch.randn(B, H, QUERIES, 6, dtype=torch.float64, requires_grad=True)
    k = torch.randn(B, H, KEYS, 6, dtype=torch.float64, requires_grad=True)
    v = torch.randn(B, H, KEYS, 3, dtype=torch.float64, requires_grad=True)
    given = MASKS[mask]()

    def run(values: Tensor) -> Tensor:
        torch.manual_seed(5)
        with quick():
            return functional.scaled_dot_product_attention(q, k, values, given, 0.3)

    added = given
    if given is not None and given.dtype == torch.bool:
        added = torch.zeros(given.shape, dtype=torch.float64).masked_fill(~given, -math.inf)
    with torch.no_grad():
        # Where the values are a unit matrix, the answer is what was kept of the weights.
        unit = torch.eye(KEYS, dtype=torch.float64)
        thinned = run(unit.expand(B, H, KEYS, KEYS))
        kept = (thinned > 0) * scale_of(0.3)
        torch.testing.assert_close(thinned, plain(q, k, unit, added, kept, 6**-0.5))
    seen = torch.ones(SIZES) if added is None else (added > -math.inf).expand(SIZES)
    assert 0.2 < float((kept == 0)[seen.bool()].double().mean()) < 0.4

    weight = torch.randn(B, H, QUERIES, 3, dtype=torch.float64)
    ours, theirs = run(v), plain(q, k, v, added, kept, 6**-0.5)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad((ours * weight).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_a_query_that_may_see_nothing_gets_nothing() -> None:
    q, k, v = (torch.randn(1, 2, 4, 8, requires_grad=True) for _ in range(3))
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 1, :] = False
    with quick():
        found = functional.scaled_dot_product_attention(q, k, v, mask, 0.1)
        found.sum().backward()
    assert not found[..., 1, :].any()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in (q, k, v))


def test_on_average_nothing_is_changed() -> None:
    torch.manual_seed(6)
    q, k, v = (torch.randn(1, 1, 8, 16) for _ in range(3))
    expected = functional.scaled_dot_product_attention(q, k, v)
    with quick():
        many = [x.expand(20_000, 1, 8, 16) for x in (q, k, v)]
        found = functional.scaled_dot_product_attention(*many, None, 0.2)
    off = (found.mean(0) - expected[0]).abs() / (found.std(0) / math.sqrt(len(found)))
    assert float(off.max()) < 5


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_under_autocast_the_answer_is_of_its_type(kind: torch.dtype) -> None:
    q, k, v = (torch.randn(2, 2, 4, 8) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16), quick():
        assert functional.scaled_dot_product_attention(q, k, v, None, 0.1).dtype == kind


def test_bf16_is_about_as_exact_as_torchs_own() -> None:
    """Scores and weights are fp32, so that large ones do not make it worse."""
    torch.manual_seed(12)
    for spread in (1.0, 4.0):
        q, k, v = (torch.randn(1, 2, 32, 16) * spread for _ in range(3))
        narrow = [x.bfloat16().requires_grad_() for x in (q, k, v)]
        wide = [x.detach().double().requires_grad_() for x in narrow]
        answers = []
        for inputs in (narrow, wide):
            torch.manual_seed(13)
            with quick():
                found = functional.scaled_dot_product_attention(*inputs, None, 0.1)
            found.float().sum().backward()
            answers.append([found.detach(), *(x.grad for x in inputs)])
        for near, exact in zip(*answers, strict=True):
            assert near is not None
            assert exact is not None
            assert float((near.double() - exact).norm() / exact.norm()) < 8e-3


@pytest.mark.parametrize("change", ["made in inference mode", "changed afterwards"])
def test_a_mask_is_the_callers_own(change: str) -> None:
    x = torch.randn(1, 2, 4, 8, requires_grad=True)
    with torch.inference_mode(change == "made in inference mode"):
        mask = torch.zeros(4, 4)
    with quick():
        found = functional.scaled_dot_product_attention(x, x, x, mask, 0.3)
    if change == "changed afterwards":
        mask.add_(1.0)
    found.sum().backward()
    assert x.grad is not None


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def seeded(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def same(*inputs: Tensor) -> Tensor:
        torch.manual_seed(14)
        with quick():
            return run(*inputs)

    return same


SMOOTH: dict[str, tuple[Callable[..., Tensor], int]] = {
    "dropout": (lambda x: functional.dropout(x, 0.4).square(), 1),
    "attention": (lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, None, 0.3), 3),
    "of itself": (lambda x: functional.scaled_dot_product_attention(x, x, x, None, 0.3), 1),
    "masked": (
        lambda x: functional.scaled_dot_product_attention(
            x, x, x, torch.tensor([[True, False], [False, False]]), 0.3
        ),
        1,
    ),
}


@pytest.mark.parametrize("case", SMOOTH)
def test_gradients_have_gradients(case: str) -> None:
    """A gradient penalty asks for them; so does who wants all rows of a Jacobian at once."""
    torch.manual_seed(15)
    run, count = SMOOTH[case]
    inputs = tuple(double(1, 2, 2, 3) for _ in range(count))
    assert torch.autograd.gradcheck(seeded(run), inputs)
    assert torch.autograd.gradgradcheck(seeded(run), inputs)
    one = tuple(x.detach() for x in inputs)
    at_once, singly = (
        torch.autograd.functional.jacobian(seeded(run), one, vectorize=vectorize)
        for vectorize in (True, False)
    )
    for mine, other in zip(at_once, singly, strict=True):
        torch.testing.assert_close(mine, other)


def test_values_keep_their_layout() -> None:
    values = torch.randn(2, 3, 4).transpose(1, 2)
    assert dropout(values, 0.5).stride() == values.stride()
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert dropout(image, 0.5).is_contiguous(memory_format=torch.channels_last)


# --- what is left to torch -----------------------------------------------------------------------


def left_to_torch() -> dict[str, Callable[[], Tensor]]:
    q = torch.randn(2, 4, 6, 8)
    k = torch.randn(2, 2, 6, 8)
    bias = torch.randn(6, 6, requires_grad=True)
    attend = functional.scaled_dot_product_attention
    return {
        "no dropout": lambda: attend(q, q, q),
        "a causal mask": lambda: attend(q, q, q, None, 0.2, is_causal=True),
        "a mask that learns": lambda: attend(q, q, q, bias, 0.2),
        "fewer heads of keys": lambda: attend(q, k, k, None, 0.2, enable_gqa=True),
        "fp16": lambda: attend(*(q.half(),) * 3, None, 0.2),
        "a rate that is a tensor": lambda: functional.dropout(q, torch.tensor(0.2)),
        "three dimensions": lambda: attend(q[0], q[0], q[0], None, 0.2),
        "evaluation": lambda: functional.dropout(q, 0.2, training=False),
        "nothing at all": lambda: functional.dropout(q[:0], 0.2),
        "all of it": lambda: functional.dropout(q, 1.0),
        "in place": lambda: functional.dropout(q.clone(), 0.2, inplace=True),
        "whole channels": lambda: functional.dropout1d(q[0], 0.2),
    }


@pytest.mark.parametrize("case", left_to_torch())
def test_what_is_not_known_is_torchs_own_to_the_bit(case: str) -> None:
    torch.manual_seed(7)
    run = left_to_torch()[case]
    torch.manual_seed(8)
    expected = run()
    torch.manual_seed(8)
    with quick():
        assert torch.equal(run(), expected)


@pytest.mark.parametrize(
    "mask",
    [torch.zeros(2, 8, 6, 6), torch.zeros(5, 1, 6, 6), torch.zeros(6, 5), torch.zeros(3, 6, 6)],
)
def test_a_mask_that_torch_refuses_is_refused(mask: Tensor) -> None:
    q = torch.randn(2, 4, 6, 8)
    with quick(), pytest.raises(RuntimeError):
        functional.scaled_dot_product_attention(q, q, q, mask, 0.2)


@pytest.mark.parametrize("kind", [torch.int64, torch.float64])
def test_a_mask_of_another_kind_is_torchs_to_judge(kind: torch.dtype) -> None:
    q = torch.randn(2, 4, 6, 8)
    with quick(), pytest.raises(RuntimeError):
        functional.scaled_dot_product_attention(q, q, q, torch.ones(6, 6, dtype=kind), 0.2)


def test_under_autocast_float64_stays_as_with_torch() -> None:
    q = torch.randn(1, 2, 4, 8, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16), quick():
        assert functional.scaled_dot_product_attention(q, q, q, None, 0.1).dtype == q.dtype


def test_forward_derivatives_are_torchs() -> None:
    from torch.autograd import forward_ad

    with quick(), forward_ad.dual_level():
        x = forward_ad.make_dual(torch.ones(100), torch.ones(100))
        value, slope = forward_ad.unpack_dual(functional.dropout(x, 0.5))
    assert slope is not None
    assert torch.equal(value, slope)


def test_a_traced_model_is_torchs() -> None:
    with quick():
        traced = torch.jit.trace(torch.nn.Dropout(0.5), torch.ones(9), check_trace=False)
    assert set(traced(torch.ones(100)).unique().tolist()) == {0.0, 2.0}


def test_under_vmap_it_is_torchs() -> None:
    with quick():
        each = torch.func.vmap(lambda one: functional.dropout(one, 0.5), randomness="different")
        found = each(torch.ones(4, 100))
    assert found.shape == (4, 100)
    assert set(found.unique().tolist()) == {0.0, 2.0}


def test_torchs_own_layer_learns_through_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its functions call is replaced, too: attention once, dropout three times."""
    asked: list[str] = []
    for name, own in (("dropout", dropout), ("attention", attending.attention)):
        monkeypatch.setattr(
            f"handful.training.cpu.kernels.{name}",
            lambda *args, n=name, f=own: asked.append(n) or f(*args),
        )
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
    hidden = torch.zeros(3, 7, dtype=torch.bool)
    hidden[1, 5:] = True
    with quick():
        layer(torch.randn(3, 7, 16), src_key_padding_mask=hidden).square().mean().backward()
    assert sorted(asked) == ["attention", *["dropout"] * 3]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_a_model_that_compiles_itself_goes_through_torch() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with quick():
        compiled(torch.randn(4, 8)).sum().backward()
    assert layer[0].weight.grad is not None


def test_elsewhere_and_compiled_nothing_is_looked_at() -> None:
    torch.manual_seed(9)
    expected = functional.dropout(torch.ones(100))
    for device, compiled in ((CPU, True), (torch.device("cuda"), False)):
        torch.manual_seed(9)
        with cpu_kernels(device, compiled=compiled):
            assert torch.equal(functional.dropout(torch.ones(100)), expected)


def test_gradient_checkpointing_draws_the_same_on_the_way_back() -> None:
    torch.manual_seed(10)
    layer = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Dropout(0.4))
    values = torch.randn(9, 16)
    gradients = []
    for forward in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        layer.zero_grad()
        torch.manual_seed(11)
        with quick():
            forward(values).square().sum().backward()
        gradients.append([p.grad.clone() for p in layer.parameters() if p.grad is not None])
    assert len(gradients[0]) == 2
    assert all(map(torch.equal, *gradients))


# --- the door ------------------------------------------------------------------------------------

REPLACED = "dropout", "scaled_dot_product_attention"


@pytest.fixture
def fresh() -> Iterator[None]:
    """As in a process that has not looked at them yet."""
    kernel_check.find_kernel_fault.cache_clear()
    kernels._TOLD.clear()
    yield
    kernel_check.find_kernel_fault.cache_clear()
    kernels._TOLD.clear()


def replaced() -> list[bool]:
    with cpu_kernels(CPU, compiled=False, on=use_cpu_kernels("auto", Recording())):
        return [getattr(functional, name) is not own for name, own in OWN.items()]


OWN = {name: getattr(functional, name) for name in REPLACED}


def steps_by_torch() -> list[Tensor]:
    """One draw of each kind, and its gradient."""
    found = []
    for run in (
        lambda x: functional.dropout(x, 0.3),
        lambda x: functional.scaled_dot_product_attention(x, x, x, None, 0.3),
    ):
        torch.manual_seed(16)
        x = torch.randn(1, 2, 4, 8, requires_grad=True)
        found += [answer := run(x), *torch.autograd.grad(answer.sum(), x)]
    return found


@pytest.mark.usefixtures("fresh")
def test_they_stand_their_test_here_and_leave_no_trace_in_the_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Recording()
    state = torch.get_rng_state()
    # It seeds all GPUs, which would begin another training.
    monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("all devices are seeded"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert use_cpu_kernels("auto", told)
    assert torch.equal(torch.get_rng_state(), state)
    assert not told.warnings
    assert replaced() == [True, True]
    assert [getattr(functional, name) for name in REPLACED] == list(OWN.values())


@pytest.mark.usefixtures("fresh")
def test_off_leaves_torchs_functions_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_kernel_fault", lambda: pytest.fail("nobody asks"))
    with cpu_kernels(CPU, compiled=False, on=use_cpu_kernels("off", Recording())):
        assert all(getattr(functional, name) is own for name, own in OWN.items())


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", [*kernel_check.PRIVATE_NAMES, "_forward_hooks"])
def test_without_a_private_name_of_torchs_all_goes_by_torch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, told = steps_by_torch(), Recording()
    with monkeypatch.context() as patch:
        if name in kernel_check.PRIVATE_HOOKS:
            patch.setattr(kernel_check, "nn", SimpleNamespace(Module=object))
        else:
            owner, _, last = name.rpartition(".")
            patch.delattr(attrgetter(owner)(torch) if owner else torch, last)
        for _ in range(2):
            on = use_cpu_kernels("auto", told)
            with cpu_kernels(CPU, compiled=False, on=on):
                assert all(map(torch.equal, steps_by_torch(), expected))
    [warning] = told.warnings
    assert name in warning
    assert "CPU_KERNELS are off" in warning


def wrong_dropout(values: Tensor, rate: float) -> Tensor:
    return dropout(values, rate) * 1.01


def wrong_gradient(*told: Any) -> Tensor:
    """The right answer, from which the wrong thing is learned."""
    answer = attending.attention(*told)
    return answer.detach() + 2 * (answer - answer.detach())


def broken(*told: Any) -> Tensor:
    raise RuntimeError("no such kernel")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_self_check_stands_whatever_type_a_model_has_made_the_default(
    kind: torch.dtype,
) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        assert kernel_check.find_kernel_fault() == ""
    finally:
        torch.set_default_dtype(before)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("name", "kernel", "fault"),
    [
        ("dropout", wrong_dropout, "dropout does not give what the formula gives"),
        ("attention", wrong_gradient, "attention does not give what the formula gives"),
        ("attention", broken, "attention fails: no such kernel"),
    ],
)
def test_what_does_not_stand_its_test_is_told_once_and_not_used(
    name: str, kernel: Callable[..., Tensor], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_check, name, kernel)
    told = Recording()
    assert not use_cpu_kernels("auto", told)
    assert not use_cpu_kernels("auto", told)
    [warning] = told.warnings
    assert fault in warning
    assert replaced() == [False, False]
