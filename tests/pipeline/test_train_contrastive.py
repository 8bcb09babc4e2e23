"""Trainings whose encoder learns from pairs of documents before the head is fitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from handful.backends.base import Backend
from handful.backends.inline import Inline
from handful.backends.local import Local
from handful.errors import StepError, UserError
from handful.experiment.fingerprint import of_train
from handful.records import Trained
from handful.settings import read_settings
from handful.steps.train import train as run_train
from handful.training.loop.checkpoints import Checkpoints
from handful.training.model import contrastive
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

STEPS = 24  # 2 epochs of 90 documents in batches of 8


def experiment(root: Path, **keys: str) -> Encoded:
    """Of a default model that pools the mean of its states, and begins with its probe."""
    one = make(root / "EXP-1")
    one.settings(**{"POOLING": "mean", "HEAD_INIT": "auto", "CONTRASTIVE": "on", **keys})
    return one


def train(
    one: Encoded, scratch: Path, told: Recording | None = None, backend: Backend | None = None
) -> Trained:
    opened = one.open(scratch, told)
    where = backend or Inline()
    return run_train(opened, one.prepared, where, made_from={"[train] EPOCHS": "2"})


def final(one: Encoded) -> dict[str, Any]:
    folder = one.store / "results/full_dataset/models/model/seed-0/final"
    found: dict[str, Any] = json.loads((folder / "handful.json").read_text())
    return found


def validations(one: Encoded) -> list[dict[str, Any]]:
    log = one.store / "results/full_dataset/models/model/seed-0/metrics.jsonl"
    lines = map(json.loads, log.read_text().splitlines())
    return [line for line in lines if "validation" in line]


def test_the_stage_is_done_before_the_head_and_told(tmp_path: Path) -> None:
    one, told = experiment(tmp_path), Recording()
    train(one, tmp_path / "s", told)
    assert final(one)["contrastive_steps"] == STEPS
    assert final(one)["settings"]["[train] CONTRASTIVE"] == "on"
    steps = [done for name, done, *_ in told.advances if name == "contrastive model seed 0"]
    assert steps == list(range(1, STEPS + 1))
    notes = "\n".join(told.notes)
    assert notes.index("from pairs of documents") < notes.index("its probe is fitted")
    judged = [line["step"] for line in validations(one)]
    assert judged == [0, 12, 24], "the tuned model is judged before the first step"


def test_documents_of_one_label_come_nearer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    loss = contrastive.pair_loss

    def noted(*args: Any) -> Any:
        found = loss(*args)
        losses.append(float(found.detach()))
        return found

    monkeypatch.setattr(contrastive, "pair_loss", noted)
    train(experiment(tmp_path, EPOCHS="4"), tmp_path / "s")
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])


class Killed(BaseException):
    """As a kill -9: nothing hears it."""


@pytest.mark.parametrize("at", [1, 20, "checkpoint"])
def test_killed_in_the_stage_it_ends_as_the_straight_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int | str
) -> None:
    straight = experiment(tmp_path / "a", CHECKPOINT_EVERY="3 steps")
    expected = train(straight, tmp_path / "a/s").runs[0].weights_hash
    one = experiment(tmp_path / "b", CHECKPOINT_EVERY="3 steps")
    loss, save, calls = contrastive.pair_loss, Checkpoints.save, 0

    def dying(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        return loss(*args)

    def dying_behind(self: Any, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        if at == "checkpoint" and args[2].step == 3:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(contrastive, "pair_loss", dying)
        patched.setattr(Checkpoints, "save", dying_behind)
        with pytest.raises((Killed, StepError)):
            train(one, tmp_path / "b/s")
    told = Recording()
    assert train(one, tmp_path / "b/t", told).runs[0].weights_hash == expected
    again = any("from pairs of documents" in note for note in told.notes)
    assert again == (at != "checkpoint"), "what a checkpoint holds is not tuned once more"
    assert final(one)["contrastive_steps"] == STEPS


def test_left_out_it_trains_as_before(tmp_path: Path) -> None:
    one, other = experiment(tmp_path / "a", CONTRASTIVE="off"), experiment(tmp_path / "b")
    lines = (other.directory / "settings.ini").read_text().splitlines(keepends=True)
    without = "".join(line for line in lines if not line.startswith("CONTRASTIVE"))
    (other.directory / "settings.ini").write_text(without)
    hashes = [train(each, tmp_path / "s" / str(n)).runs for n, each in enumerate((one, other))]
    assert hashes[0][0].weights_hash == hashes[1][0].weights_hash
    assert final(other)["contrastive_steps"] == 0
    found = [read_settings(each.directory) for each in (one, other)]
    prints = [of_train(one.directory, each, one.prepared) for each in found]
    assert prints[0] == prints[1], "at its default it is in no fingerprint"
    other.settings(POOLING="mean", HEAD_INIT="auto", CONTRASTIVE="on")
    now = of_train(one.directory, read_settings(other.directory), one.prepared)
    assert {key for key in now if now[key] != prints[0].get(key)} == {"[train] CONTRASTIVE"}


@pytest.mark.parametrize("few", [True, False])
def test_auto_takes_it_where_documents_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    monkeypatch.setattr(contrastive, "FEW", 30 if few else 29)  # 90 documents of 3 labels
    one = experiment(tmp_path, CONTRASTIVE="auto", EPOCHS="1")
    train(one, tmp_path / "s")
    assert final(one)["contrastive_steps"] == (12 if few else 0)


def test_a_model_that_pools_in_its_own_way_has_none(tmp_path: Path) -> None:
    one = experiment(tmp_path / "a", POOLING="model")
    with pytest.raises(UserError, match="POOLING"):
        train(one, tmp_path / "a/s")
    one = experiment(tmp_path / "b", POOLING="model", CONTRASTIVE="auto", EPOCHS="1")
    train(one, tmp_path / "b/s")
    assert final(one)["contrastive_steps"] == 0


@pytest.mark.parametrize("key", ["AUTO_BATCH", "GRADIENT_CHECKPOINTING"])
def test_batches_that_fit_in_parts_alone_have_none(tmp_path: Path, key: str) -> None:
    one = experiment(tmp_path / "a", **{key: "true"})
    with pytest.raises(UserError, match="whole"):
        train(one, tmp_path / "a/s")


def test_each_seed_learns_from_pairs_of_its_own(tmp_path: Path) -> None:
    one = experiment(tmp_path, SEEDS="0, 1", LEARNING_RATE="1e-3", EPOCHS="1")
    train(one, tmp_path / "s")
    home = one.store / "results/full_dataset/models/model"
    first, second = (load_file(home / f"seed-{n}/final/model.safetensors") for n in (0, 1))
    assert any((first[name] != second[name]).any() for name in first)


@pytest.mark.slow
def test_two_processes_begin_as_one_does(tmp_path: Path) -> None:
    one, other = experiment(tmp_path / "a"), experiment(tmp_path / "b")
    train(one, tmp_path / "a/s")
    keys = {"POOLING": "mean", "HEAD_INIT": "auto", "CONTRASTIVE": "on"}
    other.settings("[compute]\nTRAIN_PROCESSES = 2\n", **keys)
    train(other, tmp_path / "b/s", backend=Local())
    assert final(other)["contrastive_steps"] == STEPS
    alone, together = (validations(each)[0]["validation"]["loss"] for each in (one, other))
    assert together == pytest.approx(alone, rel=1e-3)


@pytest.mark.slow
def test_parts_of_a_model_have_no_stage(tmp_path: Path) -> None:
    one = experiment(tmp_path)
    keys = {"POOLING": "mean", "CONTRASTIVE": "on", "SHARDING": "fsdp"}
    one.settings("[compute]\nTRAIN_PROCESSES = 2\n", **keys)
    with pytest.raises(UserError, match="whole"):
        train(one, tmp_path / "s", backend=Local())
