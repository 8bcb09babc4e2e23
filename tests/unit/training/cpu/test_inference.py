"""Judging sooner: several batches at once, and linear layers by oneDNN."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional

from handful.errors import StepError
from handful.system import machine
from handful.training.cpu import linear
from handful.training.cpu.inference import judging
from handful.training.cpu.side_by_side import MOST, at_once, map_in_threads
from handful.training.data.collate import Collator
from handful.training.data.splits import SplitData, as_split
from handful.training.evaluation.prediction import predict
from handful.training.loop.process_group import Team
from tests.support.classifiers import classifier
from tests.support.encoded import examples

CPU = torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[Any]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- side by side --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_answers_come_in_the_order_of_the_batches(workers: int) -> None:
    gates = [threading.Event() for _ in range(4)]

    def answer(number: int) -> int:
        if workers > 1 and number == 0:
            assert gates[1].wait(30)  # the first one waits for the second
        gates[min(number, 3)].set()
        return number * number

    assert list(map_in_threads(answer, range(20), workers)) == [n * n for n in range(20)]


def test_batches_are_worked_on_at_the_same_time(threads: Any) -> None:
    threads(3)
    meeting = threading.Barrier(3, timeout=30)
    seen = list(map_in_threads(lambda _: (meeting.wait(), torch.get_num_threads())[1], range(3), 3))
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_and_nothing_goes_on_behind_it(workers: int, threads: Any) -> None:
    threads(2)
    asked: list[int] = []

    def answer(number: int) -> int:
        asked.append(number)
        if number == 3:
            raise StepError("three")
        return number

    with pytest.raises(StepError, match="three"):
        list(map_in_threads(answer, range(1000), workers))
    count, alive = len(asked), [t for t in threading.enumerate() if "judging" in t.name]
    assert count < 12
    assert not alive
    assert torch.get_num_threads() == 2


def test_who_leaves_early_leaves_nothing_running(threads: Any) -> None:
    threads(2)
    read: list[int] = []
    batches = (read.append(n) or n for n in range(1000))
    with closing(map_in_threads(lambda n: n, batches, 2)) as found:
        assert next(found) == 0
    assert len(read) < 8
    assert not [t for t in threading.enumerate() if "judging" in t.name]
    assert torch.get_num_threads() == 2


def test_a_thread_that_begins_meanwhile_has_all_of_torchs_threads(threads: Any) -> None:
    threads(3)
    found: list[int] = []
    with closing(map_in_threads(lambda _: torch.get_num_threads(), range(100), 3)) as answers:
        assert next(answers) == 1
        beside = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        beside.start()
        beside.join()
        assert torch.get_num_threads() == 3
    assert found == [3]


def test_how_many_at_once(threads: Any) -> None:
    threads(2)
    assert at_once(CPU) == 2
    assert at_once(torch.device("cuda")) == 1
    threads(MOST + 3)
    assert at_once(CPU) == MOST


# --- a whole split -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> SplitData:
    return as_split(Dataset.from_list(examples("train", 200)))


@pytest.fixture(scope="module")
def model() -> Any:
    made = classifier("DistilBert")
    made.resize_token_embeddings(30_000)
    return made


def test_a_split_is_judged_alike_by_any_number_of_threads(
    data: SplitData, model: Any, threads: Any
) -> None:
    collate, found = Collator({"input_ids": 1}), []
    for count in (1, 2, 3):
        threads(count)
        with judging(model, CPU) as workers:
            assert workers == count
        ticks: list[int] = []
        found.append(predict(model, data, collate, 8, 3, ticks.append))
        assert ticks == sorted(ticks)
        assert ticks[-1] == 200
    with torch.inference_mode():
        own = model(**collate(data.batch(np.arange(200)))).logits.double().numpy()
    for one in found:
        assert one.logits.tolist() == found[0].logits.tolist()
        assert one.loss == found[0].loss
        assert abs(one.logits - own).max() < 1e-5
        assert own.std() > 0.01


def test_a_tick_that_raises_ends_it_all(data: SplitData, model: Any, threads: Any) -> None:
    threads(2)

    def tick(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(model, data, Collator({"input_ids": 1}), 8, 3, tick)
    assert not [t for t in threading.enumerate() if "judging" in t.name]
    assert torch.get_num_threads() == 2
    assert not any("forward" in vars(part) for part in model.modules())


# --- linear layers -------------------------------------------------------------------------------


@pytest.fixture
def won(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were a processor on which it is worth while."""
    if linear._by_onednn() is None:
        pytest.skip("this torch has no oneDNN: nothing of it was tested")
    monkeypatch.setattr(linear, "_is_won", lambda: True)


def asked(layer: nn.Module, states: torch.Tensor) -> tuple[torch.Tensor, int]:
    """What it answers, and how often oneDNN did."""
    by, calls = linear._by_onednn(), []
    assert by is not None

    def counted(*told: Any) -> Any:
        calls.append(told)
        return by(*told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "_by_onednn", lambda: counted)
        with linear.quick_linear(layer, CPU) as quick:
            assert quick
            found = layer(states)
    assert not any("forward" in vars(part) for part in layer.modules())
    return found, len(calls)


@pytest.mark.usefixtures("won")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(128, 12), (384, 12), (2, 64, 12), (2, 2, 32, 12)])
def test_onednn_gives_the_same(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(12, 9, bias=bias), torch.randn(shape)
    for view in (states, states.transpose(0, -2), states[..., ::1].flip(0)):
        with torch.inference_mode():
            found, calls = asked(layer, view)
            assert calls == 1
            torch.testing.assert_close(found, functional.linear(view, layer.weight, layer.bias))


@pytest.mark.usefixtures("won")
def test_what_is_left_to_torch() -> None:
    layer = nn.Linear(12, 9)
    with torch.inference_mode():
        # oneDNN keeps something for every number of rows: it does not get to see all of them.
        rows = (1, 127, 129, linear.MOST_ROWS + linear.ROWS)
        for states in (torch.randn(12), torch.randn(0, 12), *(torch.randn(n, 12) for n in rows)):
            found, calls = asked(layer, states)
            assert (calls, found.shape) == (0, (*states.shape[:-1], 9))
        with torch.autocast("cpu", torch.bfloat16):
            found, calls = asked(layer, torch.randn(128, 12))
            assert (calls, found.dtype) == (0, torch.bfloat16)
        found, calls = asked(nn.Linear(12, 9).bfloat16(), torch.randn(128, 12).bfloat16())
        assert (calls, found.dtype) == (0, torch.bfloat16)
    found, calls = asked(layer, torch.randn(128, 12))
    assert calls == 0
    assert found.requires_grad
    for bias in (torch.randn(18)[::2], torch.randn(1).expand(9), torch.randn(1)):
        layer.bias = nn.Parameter(bias)
        with torch.inference_mode():
            found, calls = asked(layer, states := torch.randn(128, 12))
            assert calls == 0
            torch.testing.assert_close(found, functional.linear(states, layer.weight, bias))
    with torch.no_grad(), linear.quick_linear(layer, CPU):
        states = torch.randn(128, 12)
        found, tangent = torch.func.jvp(layer, (states,), (torch.ones(128, 12),))
        own = torch.ones(128, 12) @ layer.weight.T
        torch.testing.assert_close(tangent, own)
        torch.testing.assert_close(layer(input=states), found)  # by its name, as torch has it
    subclass = type("Own", (nn.Linear,), {})(12, 9)
    with linear.quick_linear(subclass, CPU) as quick:
        assert not quick


def test_it_is_for_cpus_that_mkl_does_not_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert machine.cpu_maker() == ""
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: x\n\nprocessor\t: 1\n"
    )
    assert machine.cpu_maker() == "AuthenticAMD"
    for maker, wide, won in (
        ("AuthenticAMD", "AVX512", linear._by_onednn() is not None),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
        ("", "AVX512", False),
    ):
        monkeypatch.setattr(linear, "cpu_maker", lambda maker=maker: maker)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda wide=wide: wide)
        assert linear._is_won.__wrapped__() is won
    with linear.quick_linear(nn.Linear(3, 3), torch.device("cuda")) as quick:
        assert not quick


# --- a team --------------------------------------------------------------------------------------


class One(Team):
    """One process of two, whose words to the other are kept."""

    given: ClassVar[list[Any]] = []

    def sum(self, values: Any) -> Any:
        return values

    def shares(self, indices: Any, rows: torch.Tensor) -> Iterator[Any]:
        if self.leads:
            yield from self.given
        else:
            self.given.append((indices, rows))


def test_each_process_of_a_team_tells_how_far_all_of_them_are(data: SplitData, model: Any) -> None:
    ticks: dict[int, list[int]] = {0: [], 1: []}
    for rank in (1, 0):
        found = predict(
            model, data, Collator({"input_ids": 1}), 7, 3, ticks[rank].append, One(rank, 2)
        )
    alone = predict(model, data, Collator({"input_ids": 1}), 7, 3)
    assert found.logits.tolist() == alone.logits.tolist()
    assert ticks[0] == ticks[1] == sorted(ticks[0])
    assert ticks[0][-1] == 200
