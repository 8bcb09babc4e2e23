"""Checkpoints: exact, whole or absent, and the last good one when one is damaged."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from handful.errors import Locked
from handful.storage.local.store import LocalStore
from handful.storage.open import open_store
from handful.training.loop.checkpoints import MARKER, RUN, TENSORS, WEIGHTS, Checkpoints
from handful.training.loop.state import RunState, random_state, set_random_state
from tests.support.progress import Recording

PREFIX = "models/m/seed-0/checkpoints"


class Shared(torch.nn.Module):
    """Two layers that share their weights, as many language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.two.weight = self.one.weight


@pytest.fixture
def told() -> Recording:
    return Recording()


@pytest.fixture
def checkpoints(tmp_path: Path, told: Recording) -> Checkpoints:
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
    tmp_path: Path, checkpoints: Checkpoints, told: Recording, damage, name: str
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
    tmp_path: Path, checkpoints: Checkpoints, told: Recording, text: str
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


# --- whose they are ------------------------------------------------------------------------------


def of(tmp_path: Path, owner: str, told: Recording) -> Checkpoints:
    store = open_store(str(tmp_path / "store"))
    return Checkpoints(store, PREFIX, tmp_path / f"scratch-{owner}", {"EPOCHS": "3"}, told, owner)


def names(tmp_path: Path) -> set[str]:
    root = tmp_path / "store" / PREFIX
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {name.removesuffix(f"/{MARKER}") for name in found if name.endswith(MARKER)} | {
        name for name in found if "step-" not in name
    }


@pytest.mark.parametrize("before", ["", "another"], ids=["an earlier build", "another holder"])
def test_who_goes_on_makes_them_its_own(tmp_path: Path, told: Recording, before: str) -> None:
    theirs, mine = of(tmp_path, before, told), of(tmp_path, "me", told)
    theirs.begin(None)
    for step in (10, 20, 30):
        save(theirs, step, best=10)
    found = mine.last_good()
    assert found is not None
    assert found.state.step == 30
    mine.begin(found)
    assert names(tmp_path) == {"owner.json", "step-00000010-me", "step-00000030-me"}
    assert mine.at(10).state.step == 10
    assert mine.made_from() == {"EPOCHS": "3"}
    if before:
        with pytest.raises(Locked, match="another training has taken over"):
            save(theirs, 40)
    save(mine, 40, best=10)
    assert names(tmp_path) >= {"step-00000010-me", "step-00000040-me"}
    mine.remove_all()
    assert not (tmp_path / "store" / PREFIX).exists()


def test_killed_while_it_makes_them_its_own(
    tmp_path: Path, told: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any of the moves the next one goes on from the same checkpoint, with its best."""
    theirs = of(tmp_path, "first", told)
    theirs.begin(None)
    for step in (10, 20, 30):
        save(theirs, step, best=10)
    move = LocalStore.move_tree
    for most, owner in enumerate(("second", "third")):
        moves: list[str] = []

        def killed(
            store: LocalStore,
            prefix: str,
            target: str,
            *,
            last: str = "",
            most: int = most,
            moves: list[str] = moves,
        ) -> None:
            if len(moves) == most:
                raise KeyboardInterrupt
            moves.append(prefix)
            move(store, prefix, target, last=last)

        checkpoints = of(tmp_path, owner, told)
        found = checkpoints.last_good()
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "move_tree", killed)
            with pytest.raises(KeyboardInterrupt):
                checkpoints.begin(found)
    mine = of(tmp_path, "me", told)
    found = mine.last_good()
    assert found is not None
    assert (found.state.step, found.state.best_step) == (30, 10)
    mine.begin(found)
    assert names(tmp_path) == {"owner.json", "step-00000010-me", "step-00000030-me"}
    assert mine.at(10).state.step == 10
    assert not told.warnings


def test_what_two_have_left_is_gone_when_a_third_begins_anew(
    tmp_path: Path, told: Recording
) -> None:
    for owner in ("", "one", "other"):
        theirs = of(tmp_path, owner, told)
        theirs.begin(None)
        save(theirs, 10)
        flip(tmp_path / "store" / theirs._key(10) / WEIGHTS)
    mine = of(tmp_path, "me", told)
    assert mine.last_good() is None
    mine.begin(None)
    assert names(tmp_path) == {"owner.json"}


def test_the_same_owner_finds_its_own_where_they_were(tmp_path: Path, told: Recording) -> None:
    """A job that is started again elsewhere has the same name."""
    first = of(tmp_path, "job-1", told)
    first.begin(None)
    save(first, 10, best=10)
    again = of(tmp_path, "job-1", told)
    found = again.last_good()
    assert found is not None
    again.begin(found)
    assert names(tmp_path) == {"owner.json", "step-00000010-job-1"}
    save(again, 20, best=10)
    assert again.at(10).state.step == 10
