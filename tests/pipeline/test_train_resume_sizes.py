"""A real training that goes on with batches of another size (`--resume-anyway`)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handful.backends.inline import Inline
from handful.backends.local import Local
from handful.errors import StepError, UserError
from handful.layout import FINAL_RECORD
from handful.steps.train import Anew
from handful.steps.train import train as run_train
from handful.training.loop.loop import Loop
from tests.support.encoded import FUNCTIONS, LABELS, Encoded, make, tiny_bert
from tests.support.progress import Recording

ROWS = {"train": 90, "validation": 12}
EPOCHS = 2
HIGHEST, WARMUP = 3e-3, 0.1
RUN = "results/full_dataset/models/model/seed-0"


class Crash(RuntimeError):
    """An interruption."""


@dataclass(frozen=True)
class Taken:
    """One step of the optimizer."""

    epoch: int
    examples: list[int]
    rate: float


def train(
    one: Encoded,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    steps: int | None = None,
) -> tuple[list[Taken], Recording]:
    """With batches of `size`, interrupted after so many `steps`; the steps that were taken."""
    taken: list[Taken] = []
    real = Loop._step

    def step(self: Loop, indices: Any) -> None:
        if len(taken) == steps:
            raise Crash
        epoch, _ = self.plan.place(self.state.step)
        real(self, indices)
        rate = self._held.optimizer.param_groups[0]["lr"]
        taken.append(Taken(epoch, indices.tolist(), rate))

    one.settings(BATCH_SIZE=str(size), CHECKPOINT_EVERY="1 step", EPOCHS=str(EPOCHS))
    told = Recording()
    experiment = one.open(scratch / f"{size}-{steps}", told)
    anew = Anew.NOTHING_THAT_WAS_BEGUN
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", step)
        if steps is None:
            run_train(experiment, one.prepared, Inline(), made_from={}, anew=anew)
        else:
            with pytest.raises(Crash):
                run_train(experiment, one.prepared, Inline(), made_from={}, anew=anew)
    return taken, told


def check_schedule(steps: list[Taken]) -> None:
    """It rises, and falls with the share of the training that is done, whatever the sizes were.

    To two steps of the largest size: an epoch's last batch counts as a whole one.
    """
    whole = EPOCHS * ROWS["train"]
    top = max(range(len(steps)), key=lambda number: steps[number].rate)
    rates = [one.rate for one in steps]
    assert rates[: top + 1] == sorted(rates[: top + 1])
    done = sum(len(one.examples) for one in steps[: top + 1])
    assert done <= WARMUP * whole + 2 * max(len(one.examples) for one in steps[: top + 2])
    for one in steps[top + 1 :]:
        expected = HIGHEST * (1 - done / whole) / (1 - WARMUP)
        assert one.rate == pytest.approx(expected, abs=HIGHEST * 2 * 30 / whole)
        done += len(one.examples)


def check_whole(one: Encoded, steps: list[Taken]) -> None:
    seen = Counter((one.epoch, example) for one in steps for example in one.examples)
    expected = {(epoch, example) for epoch in range(EPOCHS) for example in range(ROWS["train"])}
    assert set(seen) == expected
    assert set(seen.values()) == {1}, "every example once in every epoch"
    record = json.loads((one.store / RUN / "final" / FINAL_RECORD).read_text())
    assert record["epochs"] == EPOCHS
    assert record["steps"] == len(steps)
    lines = (one.store / RUN / "metrics.jsonl").read_text().splitlines()
    validated = [line["epoch"] for line in map(json.loads, lines) if "validation" in line]
    assert validated == list(range(1, EPOCHS + 1))
    assert not (one.store / RUN / "checkpoints").exists()


@pytest.mark.parametrize(
    ("sizes", "stops"),
    [
        ((8, 20), (5,)),
        ((20, 8), (2,)),
        ((8, 30, 12), (4, 1)),
        ((8, 20), (12,)),
        ((30, 8, 20), (1, 13)),
        ((8, 30), (23,)),
    ],
    ids=["larger", "smaller", "twice-in-an-epoch", "between-epochs", "in-two-epochs", "at-the-end"],
)
def test_it_ends_at_its_epochs_and_sees_every_example_once_in_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], stops: tuple[int, ...]
) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    steps: list[Taken] = []
    for number, size in enumerate(sizes):
        stop = stops[number] if number < len(stops) else None
        found, told = train(one, tmp_path / "s", monkeypatch, size, stop)
        steps += found
        if number:
            words = f"BATCH_SIZE changed from {sizes[number - 1]} to {size}: it goes on at epoch"
            assert [warning for warning in told.warnings if words in warning]
    check_whole(one, steps)
    check_schedule(steps)


TRACED = (
    FUNCTIONS
    + """

def load_model(model_name, label2id, id2label):
    import os, signal
    from transformers import BertForSequenceClassification

    class Traced(BertForSequenceClassification):
        steps = 0

        def forward(self, input_ids, attention_mask, number, labels=None):
            if self.training:
                if self.steps == int(os.environ.get("STOP", -1)) and os.environ["RANK"] == "1":
                    os.kill(os.getpid(), signal.SIGKILL)
                self.steps += 1
                name = os.environ["TRACE"] + "." + os.environ["RANK"]
                with open(name, "a") as trace:
                    trace.write(" ".join(str(n) for n in number.tolist()) + "\\n")
            return super().forward(input_ids, attention_mask, labels=labels)

    more = {"label2id": label2id, "id2label": id2label, "ignore_mismatched_sizes": True}
    return Traced.from_pretrained(model_name, **more)
"""
)


@pytest.mark.slow
def test_two_processes_go_on_with_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = make(tmp_path / "EXP-1", ROWS, TRACED.removeprefix(FUNCTIONS), numbered=True)
    examples: list[int] = []
    for size, stop in ((8, 5), (20, None)):
        keys = {"BATCH_SIZE": str(size), "CHECKPOINT_EVERY": "1 step", "EPOCHS": "1"}
        one.settings("[compute]\nTRAIN_PROCESSES = 2\n", **keys)
        monkeypatch.setenv("TRACE", str(tmp_path / f"trace-{size}"))
        experiment, anew = one.open(tmp_path / str(size)), Anew.NOTHING_THAT_WAS_BEGUN
        if stop is None:
            monkeypatch.delenv("STOP")
            run_train(experiment, one.prepared, Local(), made_from={}, anew=anew)
        else:
            monkeypatch.setenv("STOP", str(stop))
            with pytest.raises(StepError, match="signal 9"):
                run_train(experiment, one.prepared, Local(), made_from={}, anew=anew)
        for rank in (0, 1):
            lines = (tmp_path / f"trace-{size}.{rank}").read_text().splitlines()
            examples += [int(n) for line in lines[:stop] for n in line.split()]
    assert sorted(examples) == list(range(ROWS["train"]))
    record = json.loads((one.store / RUN / "final" / FINAL_RECORD).read_text())
    assert (record["epochs"], record["steps"]) == (1, 5 + 3)


# --- what no flag can mend -----------------------------------------------------------------------


def test_with_other_labels_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s", monkeypatch, 8, 5)
    labels = {label: number for number, label in enumerate((*LABELS, "form"))}
    path = one.store / "data/prepared_data/full_dataset/label2id.json"
    path.write_text(json.dumps(labels))
    prepared = replace(one.prepared, label2id=labels, data_hash={"model": "2" * 64})
    one = replace(one, prepared=prepared)
    with pytest.raises(UserError, match=r"other labels \(new: form\)") as error:
        train(one, tmp_path / "s", monkeypatch, 20)
    assert "--redo train" in str(error.value)


def test_with_another_model_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s", monkeypatch, 8, 5)
    shutil.rmtree(one.directory / "model")
    tiny_bert(one.directory / "model", hidden_size=48)
    before = sorted((one.store / RUN / "checkpoints").iterdir())
    with pytest.raises(UserError, match="does not fit the model of now") as error:
        train(one, tmp_path / "s", monkeypatch, 20)
    assert "the model it starts from changed" in str(error.value)
    assert "--redo train" in str(error.value)
    assert sorted((one.store / RUN / "checkpoints").iterdir()) == before
