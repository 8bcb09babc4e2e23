"""The reason that a container leaves: the cause first, whatever goes wrong after it."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from handful.backends import worker
from handful.backends.base import Job
from handful.backends.worker import has_lost_others
from handful.errors import DataError, Interrupted, StepError, UserError
from handful.errors.exceptions import error_from_json, error_to_json
from handful.jobs.arguments import FollowArgs, TrainArgs
from handful.layout import job_result
from handful.sagemaker.container import run
from handful.sagemaker.container.environment import MOST_WORDS, tell_failure
from handful.training.loop.stopping import Stopping
from tests.support.sagemaker_works import TEXT

CAUSE = "KeyError: 'label'. What to do: look at line 3 [functions.py:3]"
SECOND = "the result could not be sent to the store: denied"
STOP = "stopped by SIGTERM at step 17"
BEFORE = "stopped from outside before the work began"
LEFT = "left because others had gone: RuntimeError: Connection closed by peer"

ENDS: list[tuple[Sequence[str], str]] = [
    ((CAUSE,), CAUSE),
    ((CAUSE, SECOND), f"{CAUSE}\n{SECOND}"),
    ((CAUSE, CAUSE), CAUSE),
    ((CAUSE, SECOND, SECOND), f"{CAUSE}\n{SECOND}"),
    ((STOP, CAUSE), CAUSE),
    ((LEFT, CAUSE), CAUSE),
    ((BEFORE, CAUSE, SECOND), f"{CAUSE}\n{SECOND}"),
    ((CAUSE, STOP), CAUSE),
    ((CAUSE, LEFT), CAUSE),
    ((CAUSE, BEFORE), CAUSE),
    ((STOP, LEFT), STOP),
    ((LEFT,), LEFT),
]


@pytest.mark.parametrize(("told", "left"), ENDS)
def test_the_cause_stands_first_and_who_only_left_adds_nothing(
    told: Sequence[str], left: str, tmp_path: Path
) -> None:
    for words in told:
        tell_failure(tmp_path, words)
    assert (tmp_path / "output/failure").read_text() == left
    assert (tmp_path / "output/message").read_text() == left


def test_a_long_cause_leaves_room_for_what_came_second(tmp_path: Path) -> None:
    tell_failure(tmp_path, "ü" * 2_000)
    tell_failure(tmp_path, "ö" * 2_000)
    content = (tmp_path / "output/failure").read_bytes()
    words = content.decode()  # no letter is cut in two
    assert len(content) <= MOST_WORDS
    assert words.startswith("ü" * 300)
    assert words.endswith("\n" + "ö" * 200)


def test_where_nothing_can_be_written_the_words_are_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("a file where a folder should be")
    tell_failure(tmp_path, CAUSE)
    assert CAUSE in capsys.readouterr().err


# --- the answer's way to the store ---------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> Job:
    directory = tmp_path / "EXP-1"
    directory.mkdir()
    store = f"STORE = {tmp_path / 'store'}"
    (directory / "settings.ini").write_text(
        TEXT.replace("STORE = s3://research/experiments", store)
    )
    (directory / "functions.py").write_text("")
    return Job(TrainArgs("model", 0), str(directory))


def answer_of(error: Exception, **more: Any) -> dict[str, Any]:
    return {"error": error_to_json(error), **more}


def kept(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place(tmp_path) / job_result("it-1")).read_text())
    return found


def place(tmp_path: Path) -> Path:
    return tmp_path / "store" / "EXP-1"


def reason(root: Path) -> str:
    return (root / "output/failure").read_text()


MINE = UserError("returned str, not a Module", where="functions.py:3", remedy="return one")
LOST = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc] Connection closed by peer")
STOPPED = StepError("stopped by SIGTERM at step 17", remedy="run again")


def test_an_error_is_told_even_if_its_store_cannot_be_written(job: Job, tmp_path: Path) -> None:
    place(tmp_path).mkdir(parents=True)
    (place(tmp_path) / "jobs").write_text("a file where a folder should be")
    assert run.deliver(job, answer_of(MINE), tmp_path / "ml", "it-1") == 1
    words = reason(tmp_path / "ml")
    assert words.startswith("returned str, not a Module. What to do: return one [functions.py:3]\n")
    assert "the result could not be sent to the store: " in words


def test_nor_if_the_experiment_cannot_even_be_opened(job: Job, tmp_path: Path) -> None:
    (Path(job.experiment) / "settings.ini").write_text("[nothing]\n")
    assert run.deliver(job, answer_of(MINE), tmp_path / "ml", "it-1") == 1
    assert reason(tmp_path / "ml").startswith("returned str, not a Module")


def test_a_result_that_cannot_be_sent_is_a_failure_in_words(job: Job, tmp_path: Path) -> None:
    place(tmp_path).mkdir(parents=True)
    (place(tmp_path) / "jobs").write_text("a file where a folder should be")
    assert run.deliver(job, {"result": {}}, tmp_path / "ml", "it-1") == 1
    assert reason(tmp_path / "ml").startswith("the result could not be sent to the store: ")


@pytest.mark.parametrize("first", ["cause", "left"])
def test_the_host_that_only_left_is_never_the_headline(
    first: str, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts fail, whichever is the first to be heard."""
    monkeypatch.setattr(run, "_CAUSE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(run, "CAUSE_SECONDS", 5.0 if first == "cause" else 0.0)
    roots = {name: tmp_path / name for name in ("cause", "left")}
    answers = {"cause": answer_of(MINE), "left": answer_of(LOST, left=True)}
    second = "left" if first == "cause" else "cause"
    for name in (first, second):
        assert run.deliver(job, answers[name], roots[name], "it-1") == 1
    assert kept(tmp_path)["error"]["class"] == "UserError"
    assert reason(roots["cause"]).startswith("returned str, not a Module")
    if first == "cause":
        assert reason(roots["left"]).startswith("returned str, not a Module")
    else:
        assert reason(roots["left"]).startswith("left because others had gone")


def test_the_host_that_left_waits_for_the_cause(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_CAUSE_POLL_SECONDS", 0.01)
    late = threading.Timer(0.3, run.deliver, (job, answer_of(MINE), tmp_path / "a", "it-1"))
    late.start()
    run.deliver(job, answer_of(LOST, left=True), tmp_path / "b", "it-1")
    late.join()
    assert reason(tmp_path / "b") == reason(tmp_path / "a")


@pytest.mark.parametrize(
    "error",
    [
        STOPPED,
        StepError("stopped by a signal to another process at step 3"),
        Interrupted("interrupted; run the same command again to go on"),
    ],
    ids=str,
)
def test_an_ordinary_stop_is_no_answer(error: Exception, job: Job, tmp_path: Path) -> None:
    assert run.deliver(job, answer_of(error), tmp_path / "ml", "it-1") == 1
    assert reason(tmp_path / "ml").startswith(str(error)[:20])
    assert not (place(tmp_path) / job_result("it-1")).exists()


def test_who_has_not_heard_the_signal_stops_in_words_that_are_known() -> None:
    assert str(Stopping().error(3)).startswith("stopped by a signal to another process at step 3")


# --- one machine ---------------------------------------------------------------------------------

LOSSES = [
    LOST,
    RuntimeError("Connection reset by peer [127.0.0.1]:4711"),
    RuntimeError("NCCL error: remote process exited or there was a network error, ncclRemoteError"),
    RuntimeError("Application timeout caused pair closure"),
    type("DistBackendError", (type("DistError", (RuntimeError,), {}),), {})("gone"),
]
OWN = [
    MINE,
    ValueError("Connection closed by peer"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x2 and 3x3)"),
    ConnectionError("my service: timed out"),
]


@pytest.mark.parametrize("error", LOSSES, ids=str)
def test_who_has_lost_the_others_is_known(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_lost_others(error), "alone there is nobody to lose"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert has_lost_others(error)
    wrapped = StepError("the training broke")
    wrapped.__cause__ = error
    assert has_lost_others(wrapped)


@pytest.mark.parametrize("error", OWN, ids=str)
def test_an_error_of_ones_own_is_none_of_these(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not has_lost_others(error)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_processes_the_cause_is_written(order: Sequence[int], tmp_path: Path) -> None:
    answers = [answer_of(MINE), answer_of(LOST, left=True)]
    for rank in order:
        worker._write_first(tmp_path / "result.json", answers[rank], rank)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["error"]["class"] == "UserError"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_does_not_cost_the_error(
    job: Job, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Neither the worker's words nor their class: the answer goes to the store without its file."""
    handler = signal.getsignal(signal.SIGTERM)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, handler))
    (tmp_path / "job.json").write_text(Job(FollowArgs(), job.experiment).to_json())
    nowhere = tmp_path / "no-such-folder" / "result.json"
    words = [str(tmp_path / "job.json"), str(nowhere)]
    with pytest.raises(worker.Unwritten, match=r"KeyError: .*FollowArgs.*; besides, the result"):
        worker.main(words)
    root = ["--root", str(tmp_path / "ml"), "--name", "it-1"]
    assert run.main([*words, *root]) == 1
    assert reason(tmp_path / "ml").startswith("KeyError: ")
    assert "FollowArgs" in kept(tmp_path)["error"]["faults"][0][1]


def test_a_verbs_error_keeps_its_class(job: Job, tmp_path: Path) -> None:
    """2 at home is 2 as a job."""
    told = DataError("2 of 30 instances could not be encoded", where="[prepare] MAX_QUARANTINED")
    assert run.deliver(job, answer_of(told), tmp_path / "ml", "it-1") == 1
    again = error_from_json(kept(tmp_path)["error"])
    assert (type(again), again.exit_status, str(again)) == (DataError, 2, str(told))
