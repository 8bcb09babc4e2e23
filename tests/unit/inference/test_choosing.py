"""Which model predicts where there are probes: the best on validation, or the one asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handful import layout
from handful.errors import DataError, UserError
from handful.experiment.context import Experiment
from handful.experiment.kept_models import ModelStore, fingerprint_of
from handful.files.checksums import seal
from handful.inference.choosing import choose, choose_final, folder_of, record_of, temperature_of
from tests.support.compared import Compared

DATA = "data of today"


@dataclass
class Store:
    """Trained models and probes, without a weight."""

    one: Compared
    experiment: Experiment

    def final(self, key: str, **record: Any) -> dict[str, Any]:
        told = {"seed": 0, "made_from": {}, "data_hash": DATA, "metrics": {}, **record}
        text = json.dumps(told).encode()
        self.experiment.store.write(f"{key}/{layout.FINAL_RECORD}", seal(text))
        return told

    def model(self, name: str, validation: float, seed: int = 0) -> None:
        self.one.model(name, [0, 1, 2], [0, 1, 2], seed=seed, validation=validation)
        trained = replace(self.one.trained, finished_at="2026-01-01T00:00:00+00:00")
        self.experiment.store.write(self.experiment.layout.trained_record, trained.to_json())
        weights = trained.runs[-1].weights_hash
        final = self.experiment.layout.final(name, seed)
        self.final(final, model=name, seed=seed, weights_hash=weights)

    def probe(self, name: str, validation: float, **record: Any) -> None:
        self.one.probe(name, [0, 1, 2], [0, 1, 2], validation)
        weights = f"weights of the probe of {name}"
        told = {"model": name, "probe": True, "weights_hash": weights, **record}
        self.final(self.experiment.layout.probe_final(name), **told)


def named(store: Store) -> tuple[Path, tuple[str, ...]]:
    """The experiment's directory, and its MODEL_NAMES."""
    return store.experiment.directory, store.experiment.settings.train.MODEL_NAMES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    one = Compared(tmp_path / "EXP-1")
    return Store(one, one.open(tmp_path / "s", MODEL_NAMES="./a, ./org--b"))


def test_a_better_probe_is_chosen_and_opened_where_it_lies(store: Store) -> None:
    store.model("a", 0.7)
    store.model("org--b", 0.6)
    store.probe("a", 0.75)
    store.probe("org--b", 0.8)
    chosen = choose(store.experiment)
    assert (chosen.probe, chosen.folder) == (True, "baseline-probe--org--b")
    assert chosen.name == "baseline-probe--org--b"
    assert layout.model_folder(chosen.model) == "org--b"
    assert not chosen.pinned
    at, mine = store.experiment.store, store.experiment.layout
    folder = folder_of(at, mine, store.experiment.scratch, chosen)
    record = record_of(chosen, folder, store.experiment.directory)
    assert record["probe"] is True
    assert temperature_of(at, mine, chosen, record) == 1.5, "from its metrics.json"
    assert temperature_of(at, mine, chosen, {"temperature": 2.5}) == 2.5


@pytest.mark.parametrize("validation", [0.5, 0.7])
def test_a_probe_that_is_no_better_is_not(store: Store, validation: float) -> None:
    store.model("a", 0.7)
    store.probe("a", validation)
    chosen = choose(store.experiment)
    assert (chosen.probe, chosen.name) == (False, "a seed 0")


def test_a_lower_metric_may_be_better(store: Store, tmp_path: Path) -> None:
    store.model("a", 0.7)
    store.probe("a", 0.6)
    low = store.one.open(tmp_path / "t", METRIC_GOAL="min")
    assert choose(low).probe
    store.probe("a", 0.8)
    assert not choose(store.one.open(tmp_path / "u", METRIC_GOAL="min")).probe


def test_who_asks_for_a_model_or_a_seed_gets_it(store: Store) -> None:
    store.model("a", 0.7)
    store.probe("a", 0.9)
    assert not choose(store.experiment, "a").probe
    assert not choose(store.experiment, seed=0).probe


def test_by_its_name(store: Store) -> None:
    store.model("a", 0.7)
    store.probe("a", 0.2)
    assert choose(store.experiment, "baseline-probe--a").probe
    assert choose(store.experiment, "baseline-probe--a", 0).probe
    with pytest.raises(UserError, match="baseline-probe--a seed 3 is not trained") as error:
        choose(store.experiment, "baseline-probe--a", 3)
    assert "there are a seed 0, baseline-probe--a" in str(error.value)
    with pytest.raises(UserError, match="baseline-probe--c is not trained"):
        choose(store.experiment, "baseline-probe--c")


@pytest.mark.parametrize("fault", ["no final", "other weights", "of another model", "other data"])
def test_a_probe_that_does_not_stand_is_not_chosen(store: Store, fault: str) -> None:
    store.model("a", 0.7)
    if fault == "no final":
        store.one.probe("a", [0], [0], 0.9)
    elif fault == "other weights":
        store.probe("a", 0.9, weights_hash="of an earlier test")
    elif fault == "of another model":
        store.probe("gone", 0.9)
    else:
        store.probe("a", 0.9, data_hash="data of yesterday")
    assert not choose(store.experiment).probe


def test_results_that_cannot_be_read_are_named(store: Store) -> None:
    store.model("a", 0.7)
    store.probe("a", 0.9)
    path = store.one.results / "evaluation/baseline-probe--a/seed-0/metrics.json"
    path.write_text("{")
    with pytest.raises(DataError, match=r"baseline-probe--a/seed-0/metrics\.json"):
        choose(store.experiment)


def test_a_final_folder_says_itself_that_it_is_a_probes(store: Store) -> None:
    store.model("a", 0.7)
    store.probe("a", 0.2)
    results = store.one.results / "models/a"
    chosen = choose_final(results / "probe/final", *named(store))
    assert (chosen.probe, chosen.pinned, chosen.name) == (True, True, "baseline-probe--a")
    assert not choose_final(results / "seed-0/final", *named(store)).probe


def models_of(store: Store) -> ModelStore:
    return ModelStore(store.experiment.store, store.experiment.layout)


def test_by_its_fingerprint_and_it_is_nobodys_successor(store: Store) -> None:
    store.model("a", 0.7)
    store.probe("a", 0.2)
    (probe,) = [one for one in models_of(store).list_trained() if one.probe]
    assert probe.name == f"{probe.fingerprint} (baseline-probe--a, in use)"
    chosen = choose(store.experiment, run=probe.fingerprint)
    assert (chosen.probe, chosen.pinned, chosen.kept) == (True, True, None)
    assert choose(store.experiment, "baseline-probe--a", run=probe.fingerprint) == chosen
    with pytest.raises(UserError, match="another than --model and --seed name"):
        choose(store.experiment, "a", run=probe.fingerprint)
    assert models_of(store).list_replaced() == []
    old = {"model": "a", "seed": 0, "made_from": {}, "weights_hash": "old"}
    store.final(store.experiment.layout.kept("a", 0, fingerprint_of(old)), **old)
    assert [one.state for one in models_of(store).list_replaced()] == ["in use", "kept"]


def test_a_probe_is_made_again_by_the_test_and_no_record_is_asked_for_it() -> None:
    mine = layout.Layout("full_dataset")
    key = f"{mine.probe_final('org/b')}/model.safetensors"
    assert key == "results/full_dataset/models/org--b/probe/final/model.safetensors"
    assert layout.checksum_record_keys(key) == ()
    assert layout.step_of(key) == "test"
    assert layout.step_of(f"{mine.final('probe', 0)}/model.safetensors") == "train"
    assert layout.probe_folder("org/b") == "baseline-probe--org--b"
