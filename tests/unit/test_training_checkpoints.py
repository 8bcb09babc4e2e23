"""Checkpoints: exact, whole or absent, and the last good one when one is damaged."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from encoded import Told
from handful.storage.open import open_store
from handful.training.checkpoints import MARKER, RUN, TENSORS, WEIGHTS, Checkpoints
from handful.training.state import RunState, random_state, set_random_state

PREFIX = "models/m/seed-0/checkpoints"


class Shared(torch.nn.Module):
    """Two layers that share their weights, as many language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.two.weight = self.one.weight


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def checkpoints(tmp_path: Path, told: Told) -> Checkpoints:
    store = open_store(str(tmp_path / "store"))
    return Checkpoints(store, PREFIX, tmp_path / "scratch", {"EPOCHS": "3"}, told)


def folder(tmp_path: Path, step: int) -> Path:
    return tmp_path / "store" / PREFIX / f"step-{step:08d}"


def save(checkpoints: Checkpoints, step: int, best: int = 0) -> torch.nn.Module:
    torch.manual_seed(step)
    model = Shared()
    tensors = {"optimizer": {"step": torch.tensor(step)}, "random": random_state()}
    state = RunState(step=step, best_step=best, history=[{"loss": 1 / 3}])
    checkpoints.save(model, tensors, state, {"threads": 2})
    return model


def test_a_checkpoint_gives_back_what_was_saved(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 7)
    found = checkpoints.last_good()
    assert found is not None
    assert found.state == RunState(step=7, history=[{"loss": 1 / 3}])
    assert found.environment == {"threads": 2}
    assert checkpoints.made_from() == {"EPOCHS": "3"}
    model = Shared()
    found.load_weights(model)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), saved.parameters(), strict=True)
    )
    assert model.two.weight is model.one.weight
    assert found.tensors()["optimizer"]["step"] == 7


def test_the_last_two_and_the_best_are_kept(tmp_path: Path, checkpoints: Checkpoints) -> None:
    for step in (10, 20, 30, 40, 50):
        save(checkpoints, step, best=min(step, 20))
    kept = sorted(path.name for path in (tmp_path / "store" / PREFIX).iterdir())
    assert kept == ["step-00000020", "step-00000040", "step-00000050"]
    checkpoints.remove_all()
    assert checkpoints.last_good() is None
    assert not (tmp_path / "store" / PREFIX).exists()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut_off, flip, Path.unlink])
@pytest.mark.parametrize("name", [WEIGHTS, TENSORS, RUN])
def test_a_damaged_one_is_passed_over_for_the_one_before(
    tmp_path: Path, checkpoints: Checkpoints, told: Told, damage, name: str
) -> None:
    save(checkpoints, 10)
    save(checkpoints, 20)
    damage(folder(tmp_path, 20) / name)
    found = checkpoints.last_good()
    assert found is not None
    assert found.state.step == 10
    assert any("step 20 is passed over" in warning for warning in told.warnings)


def test_one_without_its_marker_is_not_there(tmp_path: Path, checkpoints: Checkpoints) -> None:
    save(checkpoints, 10)
    save(checkpoints, 20)
    (folder(tmp_path, 20) / MARKER).unlink()
    found = checkpoints.last_good()
    assert found is not None
    assert found.state.step == 10


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "step": 20}', "null"])
def test_a_marker_that_says_nothing_is_passed_over(
    tmp_path: Path, checkpoints: Checkpoints, told: Told, text: str
) -> None:
    save(checkpoints, 10)
    save(checkpoints, 20)
    (folder(tmp_path, 20) / MARKER).write_text(text)
    found = checkpoints.last_good()
    assert found is not None
    assert found.state.step == 10
    assert told.warnings


def test_one_whose_best_is_lost_is_passed_over(tmp_path: Path, checkpoints: Checkpoints) -> None:
    """Else the run would end with weights that are not those it calls the best."""
    save(checkpoints, 10, best=10)
    save(checkpoints, 20, best=20)
    save(checkpoints, 30, best=10)
    flip(folder(tmp_path, 10) / WEIGHTS)
    found = checkpoints.last_good()
    assert found is not None
    assert found.state.step == 20


def test_nothing_but_tensors_is_unpickled(tmp_path: Path, checkpoints: Checkpoints) -> None:
    save(checkpoints, 10)
    found = checkpoints.last_good()
    assert found is not None
    evil = tmp_path / "evil"
    shutil.copytree(found.folder, evil)
    torch.save({"optimizer": print}, evil / TENSORS)
    with pytest.raises(Exception, match="Weights only load failed"):
        type(found)(evil, found.state, {}).tensors()


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    def draw() -> tuple[float, ...]:
        # gauss and normal keep a second value back: it belongs to the state too.
        return torch.rand(1).item(), float(np.random.normal()), random.gauss(0, 1), random.random()

    draw()
    torch.save(random_state(), tmp_path / "state.pt")
    expected = [draw() for _ in range(3)]
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_a_state_survives_json_to_the_last_bit() -> None:
    state = RunState(step=3, best_value=0.1 + 0.2, best_metrics={"f1": 1 / 3}, loss_sum=1e-300)
    assert RunState(**json.loads(json.dumps(state.to_json()))) == state


@pytest.mark.parametrize(("goal", "best"), [("max", 20), ("min", 30)])
def test_the_best_validation_and_how_long_ago_it_was(goal: str, best: int) -> None:
    state = RunState()
    for step, value in ((10, 0.5), (20, 0.7), (30, 0.4), (40, 0.7 if goal == "max" else 0.4)):
        state.step = step
        state.take(value, {"m": value}, step / 10, goal)
    assert (state.best_step, state.best_epoch, state.validated) == (best, best / 10, 40)
    assert state.waited == {"max": 2, "min": 1}[goal]
