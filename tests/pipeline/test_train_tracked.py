"""Trackers are told of a run, and can do it no harm; adapters; compiled training; the forecast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from handful.backends.inline import Inline
from handful.errors import UserError
from handful.records import Trained
from handful.steps.test import test as run_test
from handful.steps.train import train as run_train
from handful.training import trackers
from handful.training.cpu import compiling
from handful.training.loop import forecast
from handful.training.tracking import figures
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording
from tests.support.servers import free_ports

SECRET = "a-very-secret-token"
TRACKED = (
    "[tracking]\nTRACKER = {}\nPROJECT = documents\nMODE = {}\n[user]\nAPI_TOKEN = ${{TOKEN}}\n"
)


def tracked(folder: Path, tracker: str, mode: str = "offline", **train: str) -> Encoded:
    one = make(folder)
    one.settings(TRACKED.format(tracker, mode), **train)
    record = one.store / "data/prepared_data/full_dataset/prepared.json"
    record.write_bytes(
        one.prepared.to_json().replace(b'"made_from": {}', b'"made_from": {"the ledger": "l3dg3r"}')
    )
    return one


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)


def train(one: Encoded, scratch: Path, told: Recording | None = None) -> Trained:
    experiment = one.open(scratch, told)
    return run_train(experiment, one.prepared, Inline(), made_from={"[train] EPOCHS": "2"})


def run_folder(one: Encoded) -> Path:
    return one.store / "results/full_dataset/models/model/seed-0"


def history(one: Encoded) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder(one) / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nobody is told of."""
    folder = tmp_path_factory.mktemp("plain")
    one = make(folder / "EXP")
    return train(one, folder / "scratch").runs[0].weights_hash


@pytest.mark.slow
def test_tensorboard_reads_what_metrics_jsonl_has(tmp_path: Path, plain: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = tracked(tmp_path / "EXP", "tensorboard", "online")
    assert train(one, tmp_path / "scratch").runs[0].weights_hash == plain
    events = EventAccumulator(str(run_folder(one) / "tracking"))
    events.Reload()
    expected = [
        (line["step"], np.float32(line["validation"]["macro_f1"]))
        for line in history(one)
        if "validation" in line
    ]
    found = [(e.step, np.float32(e.value)) for e in events.Scalars("validation/macro_f1")]
    assert found == expected
    assert len(events.Scalars("train/loss")) == sum("loss" in line for line in history(one))
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"ledger_hash": "l3dg3r"' in text
    assert '"[train] LEARNING_RATE": "0.003"' in text
    assert SECRET not in text


@pytest.mark.slow
def test_weights_and_biases_offline_is_kept_in_the_store(tmp_path: Path, plain: str) -> None:
    one = tracked(tmp_path / "EXP", "wandb")
    told = Recording()
    assert train(one, tmp_path / "scratch", told).runs[0].weights_hash == plain
    assert not told.warnings
    [path] = run_folder(one).glob("tracking/**/*.wandb")
    content = path.read_bytes()
    for line in history(one):
        if "validation" in line:
            assert json.dumps(line["validation"]["accuracy"]).encode() in content
    assert b"validation/accuracy" in content
    assert b"l3dg3r" in content
    assert SECRET.encode() not in content


def test_a_tracker_that_cannot_be_reached_stops_nothing(
    tmp_path: Path, plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "INIT_SECONDS", 3)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    one = tracked(tmp_path / "EXP", "wandb", "online")
    told = Recording()
    assert train(one, tmp_path / "scratch", told).runs[0].weights_hash == plain
    [warning] = told.warnings
    assert "wandb is told nothing more" in warning
    assert "metrics.jsonl has it all" in warning
    assert history(one)


class Breaks:
    """A tracker that fails at its third line, and would fail at its end."""

    logged = 0

    def __init__(self, subject: trackers.Subject) -> None:
        assert subject.project == "documents"
        assert subject.name == "EXP model seed 0"
        Breaks.logged = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        Breaks.logged += 1
        if Breaks.logged == 3:
            raise ConnectionError("gone")

    def close(self) -> None:
        raise AssertionError("nobody asks again")


def test_a_tracker_that_fails_on_the_way_is_told_once(
    tmp_path: Path, plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "TRACKERS", {})
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Breaks)  # type: ignore[arg-type]
    monkeypatch.setattr("handful.training.tracking.TRACKERS", trackers.TRACKERS)
    one, told = tracked(tmp_path / "EXP", "wandb"), Recording()
    assert train(one, tmp_path / "scratch", told).runs[0].weights_hash == plain
    assert Breaks.logged == 3
    assert sum("told nothing more (ConnectionError: gone)" in w for w in told.warnings) == 1


def test_a_tracker_that_is_not_installed_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trackio", None)
    one = tracked(tmp_path / "EXP", "trackio")
    with pytest.raises(UserError, match=r"trackio is not installed[^$]*handful\[trackio\]"):
        train(one, tmp_path / "scratch")
    assert not (run_folder(one) / "metrics.jsonl").exists()


def test_figures_are_numbers_with_their_place() -> None:
    line = {"step": 3, "epoch": 0.5, "loss": 1.5, "lr": 0.1, "note": "text"}
    assert figures(line) == {"epoch": 0.5, "train/loss": 1.5, "train/lr": 0.1}
    line = {"step": 3, "epoch": 1.0, "validation": {"loss": 1.0, "macro_f1": 0.5}}
    assert figures(line) == {"epoch": 1.0, "validation/loss": 1.0, "validation/macro_f1": 0.5}


# --- adapters ------------------------------------------------------------------------------------

LORA = """
def load_model(model_name, label2id, id2label):
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        model_name, num_labels=len(label2id), label2id=label2id, id2label=id2label,
        ignore_mismatched_sizes=True,
    )
    return get_peft_model(model, LoraConfig(TaskType.SEQ_CLS, r=4, target_modules=["query"]))
"""


def test_a_model_with_an_adapter_is_trained_and_opens_again(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    one = make(tmp_path / "EXP", functions=LORA)
    trained = train(one, tmp_path / "scratch")
    experiment = one.open(tmp_path / "scratch")
    run_test(experiment, one.prepared, trained, Inline(), made_from={})
    final = run_folder(one) / "final"
    sizes = {path.name: path.stat().st_size for path in (final / "adapter").iterdir()}
    assert sizes["adapter_model.safetensors"] < (final / "model.safetensors").stat().st_size / 4
    base = AutoModelForSequenceClassification.from_pretrained(
        one.directory / "model", num_labels=3, ignore_mismatched_sizes=True
    )
    model = PeftModel.from_pretrained(base, str(final / "adapter")).eval()
    where = one.store / "results/full_dataset/evaluation/model/seed-0/predictions.parquet"
    rows = pl.read_parquet(where, memory_map=False)
    test = one.open(tmp_path / "scratch").store.path("data/prepared_data/full_dataset/model/test")
    from datasets import load_from_disk

    by_id = {row["artifact_id"]: row for row in load_from_disk(str(test))}
    for artifact_id, logits in rows.select("artifact_id", "logits").iter_rows():
        ids = torch.tensor([by_id[artifact_id]["input_ids"]])
        with torch.inference_mode():
            found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        np.testing.assert_allclose(found.numpy(), logits, atol=1e-5)


# --- compiled, and forecast ----------------------------------------------------------------------


@pytest.mark.slow
def test_compiled_training_ends_within_rounding(tmp_path: Path) -> None:
    """Without dropout, whose draws a compiled step makes in another order."""
    losses = []
    for word in ("false", "true"):
        folder = tmp_path / word
        one = make(folder / "EXP")
        config = json.loads((one.directory / "model/config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (one.directory / "model/config.json").write_text(json.dumps(config))
        one.settings(COMPILE=word, EPOCHS="1")
        train(one, folder / "scratch")
        losses.append([line["loss"] for line in history(one) if "loss" in line])
        assert len(losses[0]) > 5
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert losses[0] != losses[1], "nothing was compiled"


def test_compiling_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"\[train\] COMPILE[^$]*C\+\+ compiler"):
        compiling.compile_torch_model(torch.nn.Linear(1, 1), torch.device("cpu"))


def test_a_forecast_comes_once_after_twenty_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 18.5])
    monkeypatch.setattr(forecast.time, "monotonic", lambda: next(now))  # type: ignore[attr-defined]
    one = forecast.Forecast(1_000)
    told = [one.step(done) for done in range(101, 151)]
    assert [word for word in told if word] == [
        "0.50 s a step, so about 7 min for the 880 steps left"
    ]
    assert told.index(next(word for word in told if word)) == 19


def test_a_run_tells_its_forecast(tmp_path: Path) -> None:
    one, told = make(tmp_path / "EXP"), Recording()
    train(one, tmp_path / "scratch", told)
    [note] = [note for note in told.notes if "s a step, so about" in note]
    assert note.endswith("for the 4 steps left")
