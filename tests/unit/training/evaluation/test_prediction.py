"""Predicting, metering and stopping: the small parts around the loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from handful.errors import Interrupted, StepError
from handful.training.cpu.micro_batches import CACHED
from handful.training.data.batches import length_order
from handful.training.data.collate import Collator
from handful.training.data.splits import SplitData, as_split
from handful.training.evaluation.prediction import predict
from handful.training.loop.auto_batch import out_of_memory
from handful.training.loop.state import RunState
from handful.training.loop.stopping import Stopping
from handful.training.loop.train_metrics import Meter
from tests.support.encoded import examples


@pytest.fixture(scope="module")
def data() -> SplitData:
    return as_split(Dataset.from_list(examples("train", 50)))


class First(torch.nn.Module):
    """Its logits are the first token, the length and the label, so that rows can be told apart."""

    def __init__(self, broken: int = -1) -> None:
        super().__init__()
        self.none, self.broken = torch.nn.Parameter(torch.zeros(1)), broken
        self.seen = 0

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
        assert not self.training
        self.seen += len(labels)
        logits = torch.stack([input_ids[:, 0], attention_mask.sum(1), labels], dim=1).float()
        logits[input_ids[:, 0] == self.broken] = float("nan")
        return SimpleNamespace(loss=labels.float().mean(), logits=logits)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_every_example_once_and_in_its_own_row(data: SplitData, batch_size: int) -> None:
    model, ticks = First(), []
    model.train()
    predicted = predict(model, data, Collator({}), batch_size, 3, ticks.append)
    rows = examples("train", 50)
    expected = [[row["input_ids"][0], len(row["input_ids"]), row["labels"]] for row in rows]
    assert predicted.logits.tolist() == expected
    assert predicted.loss == pytest.approx(np.mean([row["labels"] for row in rows]))
    batches = length_order(data.lengths, batch_size, CACHED)
    assert (model.seen, ticks) == (50, np.cumsum([len(one) for one in batches]).tolist())
    assert model.training


def test_logits_that_are_no_numbers_name_their_artifacts(data: SplitData) -> None:
    token = examples("train", 50)[17]["input_ids"][0]
    guilty = [r["artifact_id"] for r in examples("train", 50) if r["input_ids"][0] == token]
    with pytest.raises(StepError, match=f"{len(guilty)} of 50.*{', '.join(guilty)}"):
        predict(First(broken=token), data, Collator({}), 8, 3)


def fed(data: SplitData, losses: list[float], norms: list[float], overflows: bool) -> Meter:
    state = RunState()
    meter = Meter(data, state, total_steps=1000, overflows=overflows)
    for number, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        meter.add(np.arange(number * 3, number * 3 + 3), torch.tensor(loss), torch.tensor(norm))
        state.step += 1
    return meter


def test_the_meter_means_the_loss_and_counts_the_padding(data: SplitData) -> None:
    meter = fed(data, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], overflows=False)
    figures = meter.look(rate=0.5, epoch=0.1)
    assert (figures["loss"], figures["lr"]) == (2.0, 0.5)
    batches = data.lengths[:9].reshape(3, 3)
    expected = 1 - batches.sum() / (batches.max(axis=1) * 3).sum()
    assert figures["padding"] == pytest.approx(expected, abs=1e-4)


def test_a_second_look_shows_the_figures_of_the_last_step(data: SplitData) -> None:
    meter = fed(data, [1.0] * 10, [1.0] * 10, overflows=False)  # a line of the log: sums begin anew
    first = meter.look(rate=0.5, epoch=0.1)
    meter.restart_clock()
    again = meter.look(rate=0.5, epoch=0.1)
    assert again == first
    assert (again["loss"], again["docs/s"] > 0) == (1.0, True)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "norms", "overflows", "says"),
    [
        ([1.0, NAN], [1.0, 1.0], False, "the loss .* step 2; .*train-0003, train-0004, train-0005"),
        ([INF, 1.0], [1.0, 1.0], True, "the loss .* step 1; .*train-0000"),
        ([1.0, 1.0], [1.0, NAN], False, "the gradient .* step 2; .*train-0003"),
    ],
)
def test_a_number_that_is_none_stops(data: SplitData, losses, norms, overflows, says: str) -> None:
    meter = fed(data, losses, norms, overflows)
    with pytest.raises(StepError, match=says):
        meter.look(rate=0.5, epoch=0.1)


def test_fp16_may_overflow_its_gradient(data: SplitData) -> None:
    assert fed(data, [1.0], [INF], overflows=True).look(0.5, 0.1)["loss"] == 1.0


def test_a_batch_that_does_not_fit_is_told() -> None:
    batch = {"input_ids": torch.zeros(4, 9), "labels": torch.zeros(4)}
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    error = out_of_memory(caught.value, 4, batch)
    assert "a batch of 4 examples, padded to [4, 9]" in str(error)
    assert "BATCH_SIZE" in str(error)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"), 4, batch) is not None
    assert out_of_memory(RuntimeError("shapes differ"), 4, batch) is None


@pytest.fixture
def handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.usefixtures("handlers")
def test_a_signal_is_heard_and_the_handlers_come_back() -> None:
    with Stopping() as stopping:
        assert stopping.heard is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.heard is signal.SIGTERM
        assert isinstance(stopping.error(7), StepError)
        assert "SIGTERM at step 7" in str(stopping.error(7))


DEADLOCK = """
import ctypes
mutex, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
c.pthread_mutex_init(mutex, None)
c.pthread_mutex_lock(mutex)
print("ready", flush=True)
c.pthread_mutex_lock(mutex)
"""


@pytest.mark.parametrize("hang", ['print("ready", flush=True); time.sleep(120)', DEADLOCK])
def test_who_never_comes_to_a_stop_is_ended_all_the_same(hang: str) -> None:
    body = "".join(f"    {line}\n" for line in hang.strip().splitlines())
    script = f"""
import time
from handful.training.loop import stopping
stopping.PATIENCE_SECONDS = 0.5
with stopping.Stopping():
{body}
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=30) == 128 + signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.usefixtures("handlers")
def test_who_has_come_to_a_stop_may_write_as_long_as_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("handful.training.loop.stopping.PATIENCE_SECONDS", 0.2)
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        stopping.reached()
        time.sleep(0.5)  # it is still there


@pytest.mark.usefixtures("handlers")
def test_a_signal_of_a_forked_child_is_the_childs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handful.training.loop.stopping.PATIENCE_SECONDS", 0.2)
    with Stopping() as stopping:
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.5)
        assert stopping.heard is None


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_is_an_interruption_and_twice_leaves_at_once() -> None:
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert isinstance(stopping.error(7), Interrupted)
        os.kill(os.getpid(), signal.SIGTERM)  # as a driver sends it to its worker
        assert stopping.heard is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
