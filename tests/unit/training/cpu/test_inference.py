"""Judging sooner: several batches at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset

from handful.errors import StepError
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
        with judging(model, CPU, on=False) as workers:
            assert workers == 1
            assert not any("forward" in vars(part) for part in model.modules())
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
