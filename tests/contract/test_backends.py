"""One body for every backend that runs jobs on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from handful.backends.base import Backend, Job
from handful.backends.inline import Inline
from handful.backends.local import Local
from handful.errors import FunctionsError, SettingsError, StepError
from handful.jobs.arguments import LookAroundArgs
from tests.support.progress import Recording

SETTINGS = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = ./files
FILES_FROM_PROD = text.txt
[train]
MODEL_NAMES = ./model
"""
FUNCTIONS = """
def get_dataset_features():
    return {}

def encode_data(instance):
    return {}
"""


@pytest.fixture(params=[Inline, Local], ids=["inline", "local"])
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = request.param()
    return made


def experiment(folder: Path, settings: str = SETTINGS, functions: str = FUNCTIONS) -> Path:
    folder.mkdir()
    (folder / "settings.ini").write_text(settings)
    (folder / "functions.py").write_text(functions)
    return folder


def job(folder: Path, *libraries: str) -> Job:
    return Job(LookAroundArgs(libraries), str(folder))


def test_a_result_comes_home(backend: Backend, tmp_path: Path) -> None:
    result = backend.run(job(experiment(tmp_path / "EXP"), "polars"), Recording())
    assert result["functions"] == ["encode_data", "get_dataset_features"]
    assert result["cores"] >= 1
    assert set(result["versions"]) == {"polars"}


def test_a_fault_of_the_user_comes_home_as_itself(backend: Backend, tmp_path: Path) -> None:
    broken = experiment(tmp_path / "EXP", settings=SETTINGS + "EPOCSH = 3\nBATCH_SIZE = x\n")
    with pytest.raises(SettingsError) as caught:
        backend.run(job(broken), Recording())
    assert len(caught.value.faults) == 2
    assert "EPOCHS" in str(caught.value)


def test_faults_of_functions_come_home(backend: Backend, tmp_path: Path) -> None:
    broken = experiment(tmp_path / "EXP", functions="def encode_data(instnace): ...\n")
    with pytest.raises(FunctionsError, match="get_dataset_features"):
        backend.run(job(broken), Recording())


def test_overrides_reach_the_worker(backend: Backend, tmp_path: Path) -> None:
    folder = experiment(tmp_path / "EXP")
    with pytest.raises(SettingsError, match=r"--set train\.EPOCHS"):
        backend.run(Job(LookAroundArgs(), str(folder), ("train.EPOCHS=none-at-all",)), Recording())


def test_what_functions_print_is_heard(tmp_path: Path) -> None:
    folder = experiment(tmp_path / "EXP", functions="print('hello')\n" + FUNCTIONS)
    heard = Recording()
    Local().run(job(folder), heard)
    assert "hello" in heard.notes


def test_a_worker_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    dying = "import os, sys\nprint('it hurts', file=sys.stderr, flush=True)\nos._exit(7)\n"
    folder = experiment(tmp_path / "EXP", functions=dying + FUNCTIONS)
    with pytest.raises(StepError, match=r"status 7") as caught:
        Local().run(job(folder), Recording())
    assert "it hurts" in str(caught.value)


def test_a_question_in_a_worker_is_answered_by_the_end_of_input(tmp_path: Path) -> None:
    folder = experiment(tmp_path / "EXP", functions="input('Go on? [y/N] ')\n" + FUNCTIONS)
    with pytest.raises(FunctionsError, match="EOFError"):
        Local().run(job(folder), Recording())


def test_a_killed_worker_is_told_by_its_signal(tmp_path: Path) -> None:
    dying = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    folder = experiment(tmp_path / "EXP", functions=dying + FUNCTIONS)
    with pytest.raises(StepError, match=r"signal 9") as caught:
        Local().run(job(folder), Recording())
    assert "memory" in str(caught.value)


def test_no_worker_outlives_its_driver(tmp_path: Path) -> None:
    """The driver is killed the hard way; the worker, which would sleep for long, leaves too."""
    mark = tmp_path / "pid"
    waiting = (
        "import os, pathlib, threading\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\n"
        "threading.Event().wait(120)\n"
    )
    folder = experiment(tmp_path / "EXP", functions=waiting + FUNCTIONS)
    script = textwrap.dedent(f"""
        from handful.backends.base import Job
        from handful.backends.local import Local
        from handful.jobs.arguments import LookAroundArgs
        from handful.progress import Silent
        Local().run(Job(LookAroundArgs(), {str(folder)!r}), Silent())
    """)
    driver = subprocess.Popen([sys.executable, "-c", script])
    worker = int(_wait_for(mark))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert _gone_within(worker, 10.0), "the worker lives on"


def _wait_for(mark: Path, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if mark.exists() and (text := mark.read_text()):
            return text
        threading.Event().wait(0.05)
    raise AssertionError("the worker never started")


def _gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        threading.Event().wait(0.05)
    return False
