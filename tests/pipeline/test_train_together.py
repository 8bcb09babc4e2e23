"""Several processes train one model: as one would, exactly resumable, on one node or two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from encoded import Encoded, Told, make
from handful.backends.base import Job
from handful.backends.inline import Inline
from handful.backends.launch import Hosts, command
from handful.backends.local import Local
from handful.errors import StepError, UserError
from handful.records import Trained
from handful.steps.test import test as run_test
from handful.steps.train import Anew
from handful.steps.train import train as run_train
from handful.training import fitting, team
from handful.training.fitting import largest

ROWS = {"train": 89, "validation": 25, "test": 9}
"""The last batch of an epoch has one example: one of two processes goes empty-handed."""


def calm(one: Encoded) -> None:
    """No dropout: what is left of chance is the order of additions."""
    path = one.directory / "model/config.json"
    config = json.loads(path.read_text())
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps({**config, **dropouts}))


def train(
    one: Encoded, scratch: Path, processes: int, anew: Anew = Anew.WHAT_CHANGED, **keys: str
) -> tuple[Trained, Told]:
    one.settings(f"[compute]\nTRAIN_PROCESSES = {processes}\n", **keys)
    told = Told()
    experiment = one.open(scratch, told)
    backend = Local() if processes > 1 else Inline()
    return run_train(experiment, one.prepared, backend, made_from={}, anew=anew), told


def lines(one: Encoded) -> list[dict[str, Any]]:
    path = one.store / "results/full_dataset/models/model/seed-0/metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(one: Encoded) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    final = one.store / "results/full_dataset/models/model/seed-0/final"
    return load_file(final / "model.safetensors")


@pytest.mark.parametrize(
    "keys", [{}, {"CLASS_WEIGHTS": "balanced", "LABEL_SMOOTHING": "0.1"}], ids=["plain", "weighted"]
)
def test_two_processes_train_as_one_does(tmp_path: Path, keys: Mapping[str, str]) -> None:
    alone, both = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (alone, both):
        calm(one)
    expected, _ = train(alone, tmp_path / "s1", 1, **keys)
    found, told = train(both, tmp_path / "s2", 2, **keys)
    assert any("24 steps of 8 (2 processes x 4)" in note for note in told.notes)
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(both)[name], tensor, atol=2e-4, rtol=1e-3)
    for mine, theirs in zip(lines(both), lines(alone), strict=True):
        assert mine["step"] == theirs["step"]
        if "loss" in mine:
            assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
            assert mine["lr"] == theirs["lr"]
        else:
            assert mine["validation"]["loss"] == pytest.approx(
                theirs["validation"]["loss"], abs=1e-4
            )
    assert found.runs[0].metrics == pytest.approx(expected.runs[0].metrics, abs=1e-3)
    if not keys:
        one_answers, two_answers = (
            answers(both, found, tmp_path, 1),
            answers(both, found, tmp_path, 2),
        )
        assert one_answers["artifact_id"].to_list() == two_answers["artifact_id"].to_list()
        assert one_answers.height == ROWS["test"]
        np.testing.assert_allclose(
            np.array(two_answers["logits"].to_list()),
            np.array(one_answers["logits"].to_list()),
            atol=1e-5,
        )


def answers(one: Encoded, trained: Trained, scratch: Path, processes: int) -> pl.DataFrame:
    """predictions.parquet of a test by so many processes."""
    one.settings(f"[compute]\nTRAIN_PROCESSES = {processes}\n")
    experiment = one.open(scratch / f"test-{processes}")
    backend = Local() if processes > 1 else Inline()
    run_test(experiment, one.prepared, trained, backend, made_from={})
    folder = one.store / "results/full_dataset/evaluation/model/seed-0"
    return pl.read_parquet(folder / "predictions.parquet")


HOLD = """
import os, time
import torch
from transformers import AutoModelForSequenceClassification as Auto


class Watched(torch.nn.Module):
    def __init__(self, model_name, label2id):
        super().__init__()
        self.bert = Auto.from_pretrained(
            model_name, num_labels=len(label2id), ignore_mismatched_sizes=True
        )
        self.steps = 0

    def forward(self, input_ids, attention_mask, labels):
        if self.training:
            self.steps += 1
            name = os.environ["TRACE"] + "." + os.environ.get("RANK", "0")
            with open(name, "a") as trace:
                trace.write(str(input_ids.sum().item()) + "\\n")
            if self.steps == int(os.environ.get("HOLD_AT", -1)):
                open(name + ".held", "w").close()
                time.sleep(float(os.environ.get("HOLD_FOR", 600)))
        return self.bert(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


def load_model(model_name, label2id):
    return Watched(model_name, label2id)


def compute_metrics(predictions, references):
    return {"macro_f1": (predictions == references).mean()}
"""


class Team:
    """The real workers, under torchrun."""

    def __init__(self, one: Encoded, folder: Path, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.trace, self.result = folder, folder / "trace", folder / "result.json"
        (folder / "job.json").write_text(job_of(one, 2).to_json())
        arguments = [str(folder / "job.json"), str(self.result)]
        self.process = subprocess.Popen(
            command([*arguments, "--events", str(folder / "events")], 2),
            env={**os.environ, "OMP_NUM_THREADS": "1", "TRACE": str(self.trace), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def held(self) -> None:
        until = time.monotonic() + 180
        while not Path(f"{self.trace}.0.held").exists():
            assert self.process.poll() is None, self.result.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def answer(self) -> dict[str, Any]:
        self.process.wait(180)
        found: dict[str, Any] = json.loads(self.result.read_text())
        return found

    def batches(self, rank: int) -> list[str]:
        return Path(f"{self.trace}.{rank}").read_text().split()


def job_of(one: Encoded, processes: int) -> Job:
    arguments = {
        "model": str(one.directory / "model"),
        "seed": 0,
        "label2id": dict(one.prepared.label2id),
        "rows": dict(one.prepared.rows["model"]),
        "data_hash": "0" * 64,
        "made_from": {"it": "always the same"},
        "processes": processes,
    }
    return Job("train", str(one.directory), (), arguments)


def test_two_processes_killed_in_mid_epoch_end_bit_for_bit_as_undisturbed(tmp_path: Path) -> None:
    """In the second epoch, with dropout, ragged lengths and buckets; the batches of each too."""
    one, other = make(tmp_path / "EXP-1", functions=HOLD), make(tmp_path / "EXP-2", functions=HOLD)
    one.settings(CHECKPOINT_EVERY="1ms")
    other.settings()
    first = Team(one, tmp_path / "first", HOLD_AT="17")
    first.held()
    first.kill()
    assert not first.result.exists()
    last = Team(one, tmp_path / "last")
    resumed = last.answer()["result"]
    assert "goes on from the checkpoint of step 16 of 24" in (last.folder / "events").read_text()
    straight = Team(other, tmp_path / "straight")
    expected = straight.answer()["result"]
    assert resumed["weights_hash"] == expected["weights_hash"]
    assert resumed["metrics"] == expected["metrics"]
    for rank in (0, 1):
        done = [*first.batches(rank)[:16], *last.batches(rank)]
        assert done == straight.batches(rank)
    assert straight.batches(0) != straight.batches(1)


def test_sigterm_to_the_team_leaves_a_checkpoint(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", functions=HOLD)
    one.settings()
    team_ = Team(one, tmp_path / "first", HOLD_AT="5", HOLD_FOR="1")
    team_.held()
    team_.process.terminate()
    error = team_.answer()["error"]
    assert "at step 5" in error["faults"][0][1]
    last = Team(one, tmp_path / "last")
    assert last.answer()["result"]["steps"] == 24
    assert "goes on from the checkpoint of step 5 of 24" in (last.folder / "events").read_text()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_nodes_train_together_over_the_loopback(tmp_path: Path) -> None:
    alone, nodes = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (alone, nodes):
        calm(one)
    expected, _ = train(alone, tmp_path / "s1", 1)
    nodes.settings()
    job = tmp_path / "job.json"
    job.write_text(job_of(nodes, 2).to_json())
    port, hosts = free_port(), ["127.0.0.1", "localhost"]
    started = []
    launch = [sys.executable, "-m", "handful.backends.launch", f"--port={port}", str(job)]
    for host in hosts:
        described = tmp_path / f"{host}.json"
        described.write_text(
            json.dumps({"current_host": host, "hosts": hosts[::-1], "network_interface_name": "lo"})
        )
        started.append(
            subprocess.Popen(
                [*launch, str(tmp_path / f"{host}.result"), "--hosts", str(described)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    words = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], words
    result = json.loads((tmp_path / "127.0.0.1.result").read_text())["result"]
    assert not (tmp_path / "localhost.result").exists(), "the first host leads"
    assert result["environment"]["processes"] == 2
    assert result["metrics"] == pytest.approx(expected.runs[0].metrics, abs=1e-3)


# --- what is refused -----------------------------------------------------------------------------


def test_a_batch_that_cannot_be_shared_names_the_nearest(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    with pytest.raises(UserError, match=r"8 examples .* among 3 processes\n.*write 6 or 9"):
        train(one, tmp_path / "s", 3)


def test_a_team_of_another_size_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(StepError, match="4 training processes were asked for, but there are 1"):
        team.joined(4)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[]", "cannot be read"), ('{"hosts": ["a"], "current_host": "b"}', "not among its hosts")],
)
def test_a_bad_description_of_the_hosts_is_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        Hosts.read(path)


# --- batches that are put together ---------------------------------------------------------------


class Small:
    """A memory that holds so many examples."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, indices: Any) -> None:
        self.tried.append(len(indices))
        if len(indices) > self.room:
            raise torch.OutOfMemoryError("no room")


def test_the_largest_part_that_fits_is_found(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    experiment = one.open(tmp_path / "s")
    from handful.training.data import open_split

    data = open_split(experiment, str(one.directory / "model"), "train", 90)
    model = torch.nn.Linear(2, 2)
    memory = Small(room=5)
    assert largest(memory, data, 32, model) == 4
    assert memory.tried == [32, 16, 8, 4]
    assert largest(Small(room=100), data, 32, model) == 32
    with pytest.raises(StepError, match="not even one example"):
        largest(Small(room=0), data, 4, model)


def test_a_batch_in_parts_trains_as_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (whole, parts):
        calm(one)
    train(whole, tmp_path / "s1", 1, CLASS_WEIGHTS="balanced")
    monkeypatch.setattr(fitting, "_fits", lambda attempt, indices, ballast: len(indices) <= 2)
    _, told = train(parts, tmp_path / "s2", 1, AUTO_BATCH="true", CLASS_WEIGHTS="balanced")
    assert any("(1 processes x 2 x 4 accumulated)" in note for note in told.notes)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, atol=2e-4, rtol=1e-3)
    losses = [[x["loss"] for x in lines(one) if "loss" in x] for one in (whole, parts)]
    assert np.allclose(*losses, atol=1e-4)
