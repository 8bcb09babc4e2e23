"""Trainings that begin with their probe, and the probe as a trained model beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from handful.backends.inline import Inline
from handful.errors import StepError
from handful.records import Tested as Results
from handful.records import Trained
from handful.steps.compare import compare
from handful.steps.test import test as run_test
from handful.steps.train import train as run_train
from handful.training.loop.checkpoints import Checkpoints
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

PROBE = "baseline-probe--model"
MADE_FROM = {"[train] EPOCHS": "2"}


def experiment(root: Path, **keys: str) -> Encoded:
    """Of a default model that pools the mean of its states, and begins with its probe."""
    one = make(root / "EXP-1")
    one.settings(**{"POOLING": "mean", "HEAD_INIT": "auto", "EPOCHS": "3", **keys})
    return one


def train(one: Encoded, scratch: Path, told: Recording | None = None) -> Trained:
    return run_train(one.open(scratch, told), one.prepared, Inline(), made_from=MADE_FROM)


def look(one: Encoded, scratch: Path, trained: Trained, told: Recording | None = None) -> Results:
    opened = one.open(scratch, told)
    return run_test(opened, one.prepared, trained, Inline(), made_from=MADE_FROM)


def results(one: Encoded) -> Path:
    return one.store / "results/full_dataset"


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "handful.json").read_text())
    return found


def validations(one: Encoded, seed: int = 0) -> list[dict[str, Any]]:
    log = results(one) / f"models/model/seed-{seed}/metrics.jsonl"
    lines = map(json.loads, log.read_text().splitlines())
    return [line for line in lines if "validation" in line]


def head(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    weights = load_file(folder / "model.safetensors")
    return {name: tensor for name, tensor in weights.items() if name.startswith("label_head.")}


def test_a_training_never_ends_below_its_probe(tmp_path: Path) -> None:
    """A learning rate that ruins the model: what is kept is the model as it began."""
    one = experiment(tmp_path, LEARNING_RATE="3", EPOCHS="1", METRIC="log_loss")
    trained = train(one, tmp_path / "s")
    seen = [line["validation"]["log_loss"] for line in validations(one)]
    assert validations(one)[0]["step"] == 0
    assert seen[1] > seen[0], "it was ruined"
    (run,) = trained.runs
    assert (run.best_epoch, run.metrics["log_loss"]) == (0, seen[0])
    final = results(one) / "models/model/seed-0/final"
    look(one, tmp_path / "t", trained)
    probe = results(one) / "models/model/probe/final"
    assert record(final)["weights_hash"] == record(probe)["weights_hash"]
    assert record(probe)["probe"] is True
    found = [
        pl.read_parquet(results(one) / f"evaluation/{name}/seed-0/predictions.parquet")
        for name in ("model", PROBE)
    ]
    assert found[0].equals(found[1])


def test_vectors_and_probe_are_made_once_for_all_seeds_and_the_test(tmp_path: Path) -> None:
    one, told = experiment(tmp_path, SEEDS="0, 1"), Recording()
    trained = train(one, tmp_path / "s", told)
    look(one, tmp_path / "t", trained, told)
    assert sum("are kept" in note for note in told.notes) == 1
    assert sum("its probe is fitted" in note for note in told.notes) == 1
    first, second = (validations(one, seed)[0] for seed in (0, 1))
    assert first["validation"] == second["validation"], "both begin as the probe"
    assert validations(one, 0)[1] != validations(one, 1)[1]
    features = results(one) / "models/model/features"
    assert len(list(features.glob("*/train.npy"))) == 1
    assert not list(features.rglob("test.npy")), "the held-out split is not looked at for it"


def test_the_probe_is_compared_and_may_be_the_winner(tmp_path: Path) -> None:
    one = experiment(tmp_path, LEARNING_RATE="1e-9", EPOCHS="1", HEAD_INIT="random")
    trained = train(one, tmp_path / "s")
    found = look(one, tmp_path / "t", trained)
    names = [each.model for each in found.baselines]
    assert names == [PROBE, "baseline-tfidf", "baseline-majority"]
    opened = one.open(tmp_path / "c")
    compared = compare(opened, one.prepared, trained, found, made_from={})
    assert compared.winner == PROBE
    told = json.loads((results(one) / "comparison.json").read_text())
    row = next(each for each in told["ranking"] if each["model"] == "model")
    assert row["over_probe"]["better"] is False
    metrics = json.loads((results(one) / f"evaluation/{PROBE}/seed-0/metrics.json").read_text())
    assert metrics["probe_of"] == "model"
    assert (
        metrics["weights_hash"] == record(results(one) / "models/model/probe/final")["weights_hash"]
    )
    assert metrics["validation"]["macro_f1"] > 0.6
    assert metrics["calibration"]["temperature"] > 0


def test_the_probe_stands_until_what_it_is_made_of_changes(tmp_path: Path) -> None:
    one = experiment(tmp_path, HEAD_INIT="random", EPOCHS="1")
    trained = train(one, tmp_path / "s")
    look(one, tmp_path / "t", trained)
    marker = results(one) / "models/model/probe/final/handful.json"
    before = marker.stat().st_mtime_ns, record(marker.parent)["weights_hash"]
    weights = marker.parent / "model.safetensors"
    written = weights.stat().st_mtime_ns
    told = Recording()
    look(one, tmp_path / "u", trained, told)
    assert weights.stat().st_mtime_ns == written
    assert record(marker.parent)["weights_hash"] == before[1]
    assert not any("its probe is fitted" in note for note in told.notes)
    one.settings(POOLING="max", HEAD_INIT="random", EPOCHS="1")
    again = train(one, tmp_path / "v")
    look(one, tmp_path / "w", again)
    assert record(marker.parent)["weights_hash"] != before[1]
    assert len(list((results(one) / "models/model/features").glob("*/train.npy"))) == 1


NO_HEAD = """
from types import SimpleNamespace
import torch


class Table(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(64, 3)

    def forward(self, input_ids, attention_mask, labels=None):
        logits = (self.table(input_ids) * attention_mask.unsqueeze(-1)).mean(1)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits)


def load_model():
    return Table()
"""


def test_a_model_without_a_head_has_no_probe_and_is_tested_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, told = experiment(tmp_path, POOLING="auto", EPOCHS="1"), Recording()
    trained = train(one, tmp_path / "s")
    look(one, tmp_path / "t", trained)
    assert (results(one) / f"evaluation/{PROBE}").is_dir()
    one.functions(NO_HEAD)
    monkeypatch.setattr(
        "handful.user_functions.load._functions_by_directory", {}
    )  # as in a new process
    trained = train(one, tmp_path / "u", told)
    found = look(one, tmp_path / "v", trained, told)
    assert [each.model for each in found.baselines] == ["baseline-tfidf", "baseline-majority"]
    assert any("has no probe: the logits of Table" in warning for warning in told.warnings)
    assert not (results(one) / f"evaluation/{PROBE}").exists(), "it was of another model"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [0, 12, 24])
def test_a_run_that_crashed_ends_bit_for_bit_as_the_straight_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Right behind the checkpoint of the model as it began, too."""
    straight = experiment(tmp_path / "a")
    expected = train(straight, tmp_path / "a" / "s").runs[0].weights_hash
    one = experiment(tmp_path / "b")
    save = Checkpoints.save

    def dying(self: Any, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        if args[2].step == at:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", dying)
    with pytest.raises((Killed, StepError)):
        train(one, tmp_path / "b" / "s")
    monkeypatch.setattr(Checkpoints, "save", save)
    assert train(one, tmp_path / "b" / "t").runs[0].weights_hash == expected
    assert [line["step"] for line in validations(one)] == [0, 12, 24, 36]


def test_a_checkpoint_of_an_earlier_build_goes_on_with_its_own_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a build pooled as the class does, whatever `auto` says now, and had one pace for all."""
    one = experiment(tmp_path, POOLING="model", HEAD_INIT="random", HEAD_LEARNING_RATE="3e-3")
    expected = train(one, tmp_path / "s").runs[0].weights_hash
    older = experiment(tmp_path / "old")
    older.settings(EPOCHS="3")
    plain = older.directory / "settings.ini"
    plain.write_text(plain.read_text().replace("HEAD_INIT = random\n", ""))
    for name in ("modules.json", "1_Pooling/config.json"):
        path = older.directory / "model" / name
        path.parent.mkdir(exist_ok=True)
        modules = [{"type": "a.Pooling", "path": "1_Pooling"}]
        path.write_text(json.dumps(modules if name == "modules.json" else {"pooling_mode": "mean"}))
    save = Checkpoints.save

    def dying(
        self: Any, model: Any, tensors: Any, state: Any, environment: Any, about: Any
    ) -> None:
        save(self, model, tensors, state, environment, {**about, "beginning": {}})
        if state.step == 12:
            raise Killed

    # Its first steps, as that build did them.
    before = plain.read_text()
    settings = "POOLING = model\nHEAD_INIT = random\nHEAD_LEARNING_RATE = 3e-3\n"
    plain.write_text(before + settings)
    monkeypatch.setattr(Checkpoints, "save", dying)
    with pytest.raises((Killed, StepError)):
        train(older, tmp_path / "old" / "s")
    monkeypatch.setattr(Checkpoints, "save", save)
    plain.write_text(before)
    marker = next(older.store.rglob("checkpoint.json"))
    told = json.loads(marker.read_text())
    new = {"[train] POOLING", "[train] HEAD_INIT", "[train] HEAD_LEARNING_RATE"}
    told["made_from"] = {n: v for n, v in told["made_from"].items() if n not in new}
    del told["checksum"]
    marker.write_text(json.dumps(told))
    assert train(older, tmp_path / "old" / "t").runs[0].weights_hash == expected
