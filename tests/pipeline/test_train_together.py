"""Several processes train one model: as one would, exactly resumable, on one node or two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from handful.backends import nodes as together
from handful.backends.base import Job
from handful.backends.inline import Inline
from handful.backends.launch import Hosts, command
from handful.backends.local import Local
from handful.backends.nodes import Nodes, follow
from handful.errors import StepError, UserError
from handful.experiment.context import Experiment
from handful.jobs.arguments import LookAroundArgs, TrainArgs
from handful.records import Trained
from handful.steps.test import test as run_test
from handful.steps.train import Anew
from handful.steps.train import train as run_train
from handful.training.cpu import micro_batches
from handful.training.data.batches import epoch_batches
from handful.training.data.splits import SplitData
from handful.training.loop import auto_batch, process_group
from handful.training.loop.auto_batch import largest
from handful.training.loop.parallel_strategy import blocks, held
from tests.support.encoded import FUNCTIONS, Encoded, examples, make
from tests.support.progress import Recording

ROWS = {"train": 89, "validation": 25, "test": 9}
"""The last batch of an epoch has one example: one of two processes goes empty-handed."""


SUMMED = (
    FUNCTIONS
    + """

def load_model(model_name, label2id, id2label):
    from transformers import BertForSequenceClassification

    class Summed(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask, labels=None):
            found = super().forward(input_ids, attention_mask, labels=labels)
            if labels is not None:
                found.loss = found.loss * len(labels)
            return found

    more = {"label2id": label2id, "id2label": id2label, "ignore_mismatched_sizes": True}
    return Summed.from_pretrained(model_name, **more)
"""
)


def calm(one: Encoded) -> None:
    """No dropout: what is left of chance is the order of additions."""
    path = one.directory / "model/config.json"
    config = json.loads(path.read_text())
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps({**config, **dropouts}))


def train(
    one: Encoded,
    scratch: Path,
    processes: int,
    anew: Anew = Anew.WHAT_CHANGED,
    **keys: str,
) -> tuple[Trained, Recording]:
    one.settings(f"[compute]\nTRAIN_PROCESSES = {processes}\n", **keys)
    told = Recording()
    experiment = one.open(scratch, told)
    backend = Local() if processes > 1 else Inline()
    return run_train(experiment, one.prepared, backend, made_from={}, anew=anew), told


FROZEN = (
    FUNCTIONS
    + """

def load_model(model_name, label2id, id2label):
    from transformers import BertForSequenceClassification

    more = {"label2id": label2id, "id2label": id2label, "ignore_mismatched_sizes": True}
    model = BertForSequenceClassification.from_pretrained(model_name, **more)
    for part in (model.bert.embeddings, model.bert.encoder.layer[0]):
        part.requires_grad_(False)
    return model
"""
)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, id="kept"),
        pytest.param({"SHARDING": "fsdp"}, id="sharded", marks=pytest.mark.slow),
    ],
)
def test_two_processes_share_what_frozen_layers_give(
    tmp_path: Path, keys: Mapping[str, str]
) -> None:
    alone = make(tmp_path / "EXP-1", ROWS, functions=FROZEN)
    both = make(tmp_path / "EXP-2", ROWS, functions=FROZEN)
    for one in (alone, both):
        calm(one)
    train(alone, tmp_path / "s1", 1)
    _, told = train(both, tmp_path / "s2", 2, **keys)
    kept = [note for note in told.notes if "computed once and kept" in note]
    assert len(kept) == (not keys), (told.notes, told.warnings)
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(both)[name], tensor, atol=2e-4, rtol=1e-3)


KILLED = (
    FUNCTIONS
    + """

def load_model(model_name, label2id, id2label):
    import os
    from transformers import BertForSequenceClassification

    class Killed(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask, labels=None):
            if self.training and os.environ.get("RANK") == "{rank}":
                os.kill(os.getpid(), {number})
            return super().forward(input_ids, attention_mask, labels=labels)

    more = {{"label2id": label2id, "id2label": id2label, "ignore_mismatched_sizes": True}}
    return Killed.from_pretrained(model_name, **more)
"""
)


@pytest.mark.parametrize(
    ("rank", "number", "name"),
    [(1, 9, "SIGKILL"), pytest.param(0, 11, "SIGSEGV", marks=pytest.mark.slow)],
)
def test_a_killed_process_is_told_by_rank_and_signal(
    rank: int, number: int, name: str, tmp_path: Path
) -> None:
    functions = KILLED.format(rank=rank, number=number)
    one = make(tmp_path / "EXP-1", {"train": 24, "validation": 6}, functions=functions)
    with pytest.raises(StepError, match=f"process {rank} was ended by signal {number}") as caught:
        train(one, tmp_path / "s", 2)
    assert name in str(caught.value)
    assert ("memory ran out" in str(caught.value)) is (number == 9)


def lines(one: Encoded) -> list[dict[str, Any]]:
    path = one.store / "results/full_dataset/models/model/seed-0/metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(one: Encoded) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    final = one.store / "results/full_dataset/models/model/seed-0/final"
    return load_file(final / "model.safetensors")


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"CLASS_WEIGHTS": "balanced", "LABEL_SMOOTHING": "0.1"},
            id="weighted",
            marks=pytest.mark.slow,
        ),
        pytest.param({"SHARDING": "fsdp"}, id="sharded", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path, keys: Mapping[str, str]) -> None:
    alone, both = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (alone, both):
        calm(one)
    expected, _ = train(alone, tmp_path / "s1", 1, **{**keys, "SHARDING": "none"})
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


@pytest.mark.slow
def test_a_team_tests_one_model_after_the_other(tmp_path: Path) -> None:
    """It stays together in between: to meet again by the same addresses would be a race."""
    one = make(tmp_path / "EXP-1", ROWS)
    trained, _ = train(one, tmp_path / "s", 1, SEEDS="0, 1, 2", EPOCHS="1")
    found = {}
    for processes in (1, 2):
        one.settings(f"[compute]\nTRAIN_PROCESSES = {processes}\n", SEEDS="0, 1, 2", EPOCHS="1")
        experiment = one.open(tmp_path / f"s{processes}")
        backend = Local() if processes > 1 else Inline()
        tested = run_test(experiment, one.prepared, trained, backend, made_from={})
        found[processes] = [dict(told.metrics) for told in tested.evaluations]
    assert len(found[2]) == 3
    assert found[2] == [pytest.approx(metrics, abs=1e-6) for metrics in found[1]]


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

    def forward(self, input_ids, attention_mask, labels, number):
        name = os.environ["TRACE"] + "." + os.environ.get("RANK", "0")
        if self.training:
            self.steps += 1
            with open(name, "a") as trace:
                trace.write(",".join(f"train-{n:04d}" for n in number.tolist()) + "\\n")
            if self.steps == int(os.environ.get("HOLD_AT", -1)):
                open(name + ".held", "w").close()
                time.sleep(float(os.environ.get("HOLD_FOR", 600)))
        elif self.steps and "HOLD_VALIDATION" in os.environ:
            open(name + ".held", "w").close()
            time.sleep(1)
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
        """The launcher alone, as the kernel does without memory; its workers have to notice."""
        ranks = psutil.Process(self.process.pid).children()
        self.process.kill()
        self.process.wait()
        assert len(ranks) == 2
        _, alive = psutil.wait_procs(ranks, timeout=60)
        for rank in alive:
            rank.kill()
        assert not alive, "a rank has outlived its launcher"

    def answer(self) -> dict[str, Any]:
        self.process.wait(180)
        found: dict[str, Any] = json.loads(self.result.read_text())
        return found

    def batches(self, rank: int) -> list[str]:
        return Path(f"{self.trace}.{rank}").read_text().split()


def job_of(one: Encoded, processes: int) -> Job:
    arguments: dict[str, Any] = {
        "model": str(one.directory / "model"),
        "seed": 0,
        "label2id": dict(one.prepared.label2id),
        "rows": dict(one.prepared.rows["model"]),
        "data_hash": "0" * 64,
        "made_from": {"it": "always the same"},
        "processes": processes,
    }
    return Job(TrainArgs(**arguments), str(one.directory))


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_killed_in_mid_epoch_end_bit_for_bit_as_undisturbed(
    tmp_path: Path, sharding: str
) -> None:
    """In the second epoch, with dropout, ragged lengths and buckets; the artifacts of each step
    too, process by process."""
    one, other = (
        make(tmp_path / name, functions=HOLD, numbered=True) for name in ("EXP-1", "EXP-2")
    )
    one.settings(CHECKPOINT_EVERY="1 step", SHARDING=sharding)
    other.settings(SHARDING=sharding)
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
    first_epoch = ",".join(straight.batches(0)[:12] + straight.batches(1)[:12]).split(",")
    assert len(set(first_epoch)) == 90, "every artifact once, by id"


@pytest.mark.parametrize(
    ("hold", "step"),
    [
        pytest.param({"HOLD_AT": "5", "HOLD_FOR": "1"}, 5, id="training", marks=pytest.mark.slow),
        pytest.param({"HOLD_VALIDATION": "yes"}, 12, id="validating", marks=pytest.mark.slow),
    ],
)
def test_sigterm_to_the_team_leaves_a_checkpoint(
    tmp_path: Path, hold: dict[str, str], step: int
) -> None:
    one = make(tmp_path / "EXP-1", functions=HOLD, numbered=True)
    one.settings()
    team_ = Team(one, tmp_path / "first", **hold)
    team_.held()
    team_.process.terminate()
    error = team_.answer()["error"]
    assert f"stopped by SIGTERM at step {step}" in error["faults"][0][1]
    last = Team(one, tmp_path / "last")
    assert last.answer()["result"]["steps"] == 24
    told = (last.folder / "events").read_text()
    assert f"goes on from the checkpoint of step {step} of 24" in told


@pytest.mark.slow
def test_the_words_of_a_worker_that_died_are_told_and_not_torchruns(tmp_path: Path) -> None:
    dying = "import os, sys\nprint('my last words', file=sys.stderr, flush=True)\nos.abort()\n"
    one = make(tmp_path / "EXP-1", {"train": 1}, functions=dying)
    with pytest.raises(StepError, match=r"was ended by signal 6 \(SIGABRT\)") as error:
        Local().run(Job(LookAroundArgs(), str(one.directory), processes=2), Recording())
    assert "    | my last words" in str(error.value)
    assert "failed (exitcode: -6)" in str(error.value)
    assert "ChildFailedError" not in str(error.value)


DRIVER = """
import sys, tempfile
from pathlib import Path
from handful.backends.local import Local
from handful.experiment.context import open_experiment
from handful.progress import Silent
from handful.records import Prepared
from handful.steps.train import train

with tempfile.TemporaryDirectory() as scratch:
    experiment = open_experiment(Path(sys.argv[1]), (), Silent(), Path(scratch))
    train(experiment, Prepared.from_json(Path(sys.argv[2]).read_bytes()), Local(), made_from={})
"""


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_leaves_a_checkpoint_of_the_team(tmp_path: Path) -> None:
    """A terminal tells all the processes of its group at once."""
    one = make(tmp_path / "EXP-1", functions=HOLD, numbered=True)
    one.settings("[compute]\nTRAIN_PROCESSES = 2\n")
    (tmp_path / "prepared.json").write_bytes(one.prepared.to_json())
    trace = tmp_path / "trace"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(one.directory), str(tmp_path / "prepared.json")],
        env={**os.environ, "TRACE": str(trace), "HOLD_AT": "3", "HOLD_FOR": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 180
    while not Path(f"{trace}.0.held").exists():
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(driver.pid, signal.SIGINT)
    assert "Interrupted" in driver.communicate(timeout=90)[1]
    markers = list(one.store.rglob("checkpoints/*/checkpoint.json"))
    assert [json.loads(marker.read_text())["step"] for marker in markers] == [3]


def free_ports() -> int:
    """A port that is free, as the one above it is; below those that the system hands out itself,
    which the processes' own connections take in the meantime."""
    for first in range(20_000 + os.getpid() % 5_000 * 2, 32_000, 2):
        with socket.socket() as one, socket.socket() as next_one:
            try:
                one.bind(("127.0.0.1", first))
                next_one.bind(("127.0.0.1", first + 1))
            except OSError:
                continue
            return first
    raise AssertionError("no two free ports in a row")


def described(folder: Path) -> list[Hosts]:
    """Two hosts that are both this machine, from files as SageMaker writes them."""
    names, found = ["127.0.0.1", "localhost"], []
    for name in names:
        path = folder / f"{name}.json"
        told = {"current_host": name, "hosts": names[::-1], "network_interface_name": "lo"}
        path.write_text(json.dumps(told))
        found.append(Hosts.read(path))
    return found


@pytest.mark.slow
def test_two_nodes_train_together_over_the_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds, one job after the other; the second host knows of none before it is told."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone, nodes = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (alone, nodes):
        calm(one)
        one.settings(EPOCHS="1")
    expected = run_train(one_seed(alone, tmp_path), alone.prepared, Inline(), made_from={})
    leader, other = described(tmp_path)
    port, answer, heard = free_ports(), [], Recording()
    following = threading.Thread(
        target=lambda: answer.append(follow(nodes.directory, other, port, 1, heard)), daemon=True
    )
    following.start()
    backend = Nodes(leader, port)
    experiment = replace(one_seed(nodes, tmp_path), overrides=("train.SEEDS=0, 1",))
    settings = replace(experiment.settings.train, SEEDS=(0, 1))
    experiment = replace(experiment, settings=replace(experiment.settings, train=settings))
    found = run_train(experiment, nodes.prepared, backend, made_from={})
    backend.part(nodes.directory, Recording(), 1)
    following.join(timeout=60)
    assert answer == [2], "the jobs in which it took part"
    assert any("seed 1" in note for note in heard.notes)
    assert [run.seed for run in found.runs] == [0, 1]
    assert found.runs[0].metrics == pytest.approx(expected.runs[0].metrics, abs=1e-3)
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(nodes)[name], tensor, atol=2e-4, rtol=1e-3)


def one_seed(one: Encoded, scratch: Path) -> Experiment:
    return one.open(scratch / one.directory.name.lower())


def test_a_leader_that_never_comes_is_not_waited_for_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "JOIN_SECONDS", 0.2)
    _, second = described(tmp_path)
    port, told = free_ports(), Recording()
    with pytest.raises(StepError, match=r"127\.0\.0\.1 did not come") as error:
        follow(tmp_path, second, port, 1, told)
    assert f"127.0.0.1:{port}, from localhost" in str(error.value)
    assert "start `handful train EXP --hosts FILE` on 127.0.0.1" in str(error.value)
    assert any("waiting for 127.0.0.1" in note for note in told.notes)


@pytest.mark.slow
def test_hosts_with_other_settings_do_not_train_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one, other = make(tmp_path / "EXP-1"), make(tmp_path / "EXP-2")
    other.settings(EPOCHS="1")
    leader, second = described(tmp_path)
    port, raised = free_ports(), []

    def following() -> None:
        with pytest.raises(UserError, match="not the same on all hosts") as caught:
            follow(other.directory, second, port, 1, Recording())
        raised.append(caught)

    thread = threading.Thread(target=following, daemon=True)
    thread.start()
    backend = Nodes(leader, port)
    with pytest.raises(UserError, match="not the same on all hosts"):
        run_train(one_seed(one, tmp_path), one.prepared, backend, made_from={})
    thread.join(timeout=60)
    assert raised


# --- what is refused -----------------------------------------------------------------------------


def test_a_batch_that_cannot_be_shared_names_the_nearest(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    with pytest.raises(UserError, match=r"8 examples .* among 3 processes\n.*write 6 or 9"):
        train(one, tmp_path / "s", 3)


def test_a_team_of_another_size_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(StepError, match="4 training processes were asked for, but there are 1"):
        process_group.join_training_team(4)


def test_a_model_is_spread_over_several_processes_only(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    with pytest.raises(UserError, match="over several processes only; there is one"):
        train(one, tmp_path / "s", 1, SHARDING="fsdp")


@pytest.mark.parametrize(
    "keys", [{"AUTO_BATCH": "true"}, {"COMPILE": "true"}, {"PRECISION": "fp16"}]
)
def test_what_does_not_go_with_sharding(tmp_path: Path, keys: dict[str, str]) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(SHARDING="fsdp", **keys)
    work: Any = SimpleNamespace(section=one.open(tmp_path / "s").settings.train)
    with pytest.raises(UserError, match=rf"does not go with {next(iter(keys))}"):
        held(torch.nn.Linear(2, 2), work, None)  # type: ignore[arg-type]


def test_the_blocks_of_a_model_are_its_layers() -> None:
    own = torch.nn.Module()
    own.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    own.head = torch.nn.Linear(2, 2)
    assert list(blocks(own)) == list(own.layers)
    bert = BertForSequenceClassification(BertConfig(hidden_size=12, num_hidden_layers=2))
    assert list(blocks(bert)) == [bert.bert.embeddings, *bert.bert.encoder.layer]
    assert not list(blocks(torch.nn.Linear(2, 2)))


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
    from handful.training.data.splits import open_splits

    name, store = str(one.directory / "model"), experiment.store
    data = open_splits(store, experiment.layout, tmp_path / "s", name, {"train": 90})["train"]
    model = torch.nn.Linear(2, 2)
    memory = Small(room=5)
    assert largest(memory, data, 32, model) == 5  # 32 in seven parts of 5 or fewer
    assert memory.tried == [32, 16, 8, 4, 6, 5]
    assert largest(Small(room=11), data, 32, model) == 11
    assert largest(Small(room=100), data, 32, model) == 32
    with pytest.raises(StepError, match="not even one example"):
        largest(Small(room=0), data, 4, model)


class _Crash(RuntimeError):
    pass


@pytest.mark.slow
def test_a_resumed_run_cuts_its_batches_as_before_and_reads_nothing_that_is_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the memory would hold more by then."""
    one = make(tmp_path / "EXP-1")
    read: list[list[int]] = []
    real = SplitData.batch

    def watched(data: SplitData, indices: Any) -> Any:
        if len(data) == 90:
            read.append(indices.tolist())
        return real(data, indices)

    def crash(*_: Any) -> None:
        raise _Crash

    keys = {"AUTO_BATCH": "true", "CHECKPOINT_EVERY": "1 step"}
    with monkeypatch.context() as patch:
        patch.setattr(
            auto_batch, "_can_fit_batch", lambda attempt, indices, ballast: len(indices) <= 3
        )
        patch.setattr("handful.training.loop.loop.Loop._validate", crash)
        with pytest.raises(_Crash):
            train(one, tmp_path / "s1", 1, **keys)
    monkeypatch.setattr(SplitData, "batch", watched)
    _, told = train(one, tmp_path / "s2", 1, **keys)
    assert any("goes on from the checkpoint of step 12 of 24" in note for note in told.notes)
    assert any("(1 processes x 3 x 3 accumulated)" in note for note in told.notes)
    lengths = np.array([row["length"] for row in examples("train", 90)])
    expected = [batch.tolist() for batch in epoch_batches(lengths, 8, 0, 1)]
    tried = 1 + 3  # what forward returns, and whether it minds padding
    found = read[tried:]
    assert list(chain(*found)) == list(chain(*expected))
    assert len(read[0]) == 2
    assert max(len(part) for part in found) == 3


@pytest.mark.slow
def test_a_batch_in_parts_trains_as_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (whole, parts):
        calm(one)
    train(whole, tmp_path / "s1", 1, CLASS_WEIGHTS="balanced")
    monkeypatch.setattr(
        auto_batch, "_can_fit_batch", lambda attempt, indices, ballast: len(indices) <= 2
    )
    _, told = train(parts, tmp_path / "s2", 1, AUTO_BATCH="true", CLASS_WEIGHTS="balanced")
    assert any("(1 processes x 2 x 4 accumulated)" in note for note in told.notes)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, atol=2e-4, rtol=1e-3)
    losses = [[x["loss"] for x in lines(one) if "loss" in x] for one in (whole, parts)]
    assert np.allclose(*losses, atol=1e-4)


def small_caches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let a CPU take 50 positions at once; how many examples were taken, and the longest one."""
    taken: list[tuple[int, int]] = []
    real = SplitData.batch

    def watched(data: SplitData, indices: Any) -> Any:
        if len(data) == ROWS["train"]:
            taken.append((len(indices), int(data.lengths[indices].max())))
        return real(data, indices)

    monkeypatch.setattr(SplitData, "batch", watched)
    monkeypatch.setattr(micro_batches, "CACHED", 50)
    return taken


@pytest.mark.slow
def test_a_batch_of_long_examples_is_taken_in_parts_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted = make(tmp_path / "EXP-1", ROWS), make(tmp_path / "EXP-2", ROWS)
    for one in (whole, parted):
        calm(one)
    train(whole, tmp_path / "s1", 1, CLASS_WEIGHTS="balanced")
    taken = small_caches(monkeypatch)
    train(parted, tmp_path / "s2", 1, CLASS_WEIGHTS="balanced")
    taken = taken[1 + 3 :]  # after what forward returns, and whether it minds padding
    assert all(count == 1 or count * longest <= 50 for count, longest in taken)
    assert max(count for count, _ in taken) > 1
    assert min(count for count, _ in taken) < 8
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parted)[name], tensor, atol=2e-4, rtol=1e-3)
    padding = [[x["padding"] for x in lines(one) if "padding" in x] for one in (whole, parted)]
    assert padding[1][-1] <= padding[0][-1]


def test_a_batch_whose_loss_is_not_known_is_not_parted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(tmp_path / "EXP-1", ROWS, functions=SUMMED)
    taken = small_caches(monkeypatch)
    train(one, tmp_path / "s", 1)
    tried = 1 + 3  # what forward returns, and whether it minds padding
    assert {count for count, _ in taken[tried:]} == {8, ROWS["train"] % 8}


def test_who_knows_the_loss_may_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make(tmp_path / "EXP-1", ROWS, functions=SUMMED)
    taken = small_caches(monkeypatch)
    train(one, tmp_path / "s", 1, MICRO_BATCHES="on")
    assert all(count == 1 or count * longest <= 50 for count, longest in taken[1 + 3 :])
