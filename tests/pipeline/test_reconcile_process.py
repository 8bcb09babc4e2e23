"""process_func: on spawned workers, in any mood; and reconcile killed at any moment."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handful import layout
from handful.errors import FunctionsError, StepError
from tests.support.progress import Recording
from tests.support.reconciling import PROCESS, Business, artifacts, tree

HANDFUL = Path(sys.executable).with_name("handful")


@pytest.fixture
def business(tmp_path: Path) -> Business:
    found = Business(tmp_path)
    found.settings["reconcile"] |= {
        "FILES_ON_RESEARCH": "raw.txt, truth.json",
        "MAX_FAILED": "2",
    }
    return found


def only_for(artifact_id: str, body: str) -> str:
    """process_func, which does `body` for one artifact first."""
    line = f'    if artifact.id == "{artifact_id}":\n        {body}\n    told'
    return "import os, subprocess, sys, time\n" + PROCESS.replace("    told", line, 1)


def made(outcome: Any) -> set[str]:
    """The artifacts whose file was written by the run."""
    return {row["artifact_id"] for row in outcome.ledger.to_dicts() if row["files_made"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise ValueError("a bad page")', "ValueError: a bad page"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("os._exit(3)", "ended its process with status 3"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), 2); time.sleep(9)", "process"),
        ('(artifact_path / "raw.txt").write_text("changed")', "process_func changed raw.txt"),
        ('(artifact_path / "raw.txt").unlink()', "process_func removed raw.txt"),
        ('(artifact_path / "a\\nb").write_text("x")', "whose name holds"),
        ('(artifact_path / "half").write_text("x"); raise OSError("disk")', "OSError: disk"),
    ],
)
def test_an_artifact_on_which_it_fails_costs_that_artifact_only(
    business: Business, body: str, words: str
) -> None:
    business.some(6)
    business.functions += only_for("good-3", body)
    outcome = business.run()
    assert outcome.fate("good-3") == ["process_failed"]
    assert words in outcome.reason("good-3")
    assert outcome.record.kept == 5
    left = {path.name for path in (artifacts(business) / "good-3").glob("*")}
    assert left <= {"raw.txt"}, "nothing half is left"
    assert made(outcome) == {f"good-{n}" for n in range(6)} - {"good-3"}


def test_the_traceback_shows_the_users_lines_and_none_of_ours(business: Business) -> None:
    business.some(6)
    business.functions += only_for("good-3", 'json.loads("{")')
    reason = business.run().reason("good-3")
    assert "functions.py" in reason
    assert "JSONDecodeError" in reason
    assert "processor.py" not in reason


def test_one_that_hangs_is_stopped_with_all_that_it_started(business: Business) -> None:
    business.some(6)
    business.settings["reconcile"]["PROCESS_TIMEOUT"] = "1s"
    child = business.folder / "child"
    business.functions += only_for(
        "good-3",
        f'(artifact_path / "half").write_text("x"); '
        f'subprocess.run(["sh", "-c", "echo $$ > {child}; exec sleep 60"])',
    )
    began = time.monotonic()
    outcome = business.run()
    assert time.monotonic() - began < 30
    assert outcome.fate("good-3") == ["process_failed"]
    assert "PROCESS_TIMEOUT = 1 s" in outcome.reason("good-3")
    assert outcome.record.kept == 5
    assert not (artifacts(business) / "good-3/half").exists()
    assert not alive(int(child.read_text()))


def alive(process: int) -> bool:
    """Is it there, and no zombie that nobody has waited for?"""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
    return True


def test_too_many_failures_end_the_step_and_keep_what_was_done(business: Business) -> None:
    business.some(6)
    business.settings["reconcile"] |= {"MAX_FAILED": "0", "NUM_PROCESSES": "1"}
    business.functions += only_for("good-3", 'raise ValueError("a bad page")')
    with pytest.raises(StepError, match="MAX_FAILED = 0") as caught:
        business.run()
    assert "a bad page" in str(caught.value)
    assert (artifacts(business) / "good-0/truth.json").exists()


def test_a_functions_file_that_a_worker_cannot_load_is_the_users_fault(business: Business) -> None:
    business.some()
    business.functions += PROCESS + "\nimport no_such_module_anywhere\n"
    with pytest.raises(FunctionsError, match="no_such_module_anywhere"):
        business.run()


@pytest.mark.slow
def test_it_runs_again_just_where_something_changed(business: Business) -> None:
    business.some(4)
    log = business.folder / "log"
    business.functions += only_for("x", "pass").replace(
        "    told", f'    open("{log}", "a").write(artifact.id + "\\n")\n    told', 1
    )

    def ran(*, refresh: bool = False) -> list[str]:
        log.write_text("")
        business.run(refresh=refresh)
        return sorted(log.read_text().split())

    everyone = [f"good-{n}" for n in range(4)]
    assert ran() == everyone
    assert ran() == []
    business.sql("UPDATE labels SET extra = 7 WHERE id = 'good-1'")
    assert ran(refresh=True) == ["good-1"]
    business.file("good-2/raw.txt", "another text")
    assert ran(refresh=True) == ["good-2"]
    (artifacts(business) / "good-3/truth.json").unlink()
    assert ran() == ["good-3"]
    business.settings["user"] = {"STYLE": "short"}
    assert ran() == [], "nobody reads it"
    business.functions = business.functions.replace(
        "told = {", 'told = {"style": settings.user.STYLE, '
    )
    assert ran() == everyone
    business.settings["user"]["STYLE"] = "long"
    assert ran() == everyone
    business.functions += "\n# a comment\n"
    assert ran() == []
    business.functions = business.functions.replace("sort_keys=True", "sort_keys=False")
    assert ran() == everyone
    business.settings["reconcile"]["OVERWRITE"] = "true"
    assert ran() == everyone


def test_what_an_earlier_function_made_does_not_stay(business: Business) -> None:
    business.some()
    business.functions += PROCESS
    business.run()
    business.functions = business.functions.replace("truth.json", "other.json")
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, other.json"
    outcome = business.run()
    assert outcome.rows("good-0")[0]["files"] == ["other.json", "raw.txt"]
    assert not (artifacts(business) / "good-0/truth.json").exists()


def test_what_it_prints_is_told(business: Business) -> None:
    business.some()
    business.functions += only_for("good-1", 'print("a word"); print("another", file=sys.stderr)')
    notes = business.run().heard.notes
    assert "process_func of good-1: a word" in notes
    assert "process_func of good-1: another" in notes


def test_the_ledger_hash_does_not_depend_on_when_files_were_made(business: Business) -> None:
    business.some()
    business.functions += PROCESS
    first = business.run().record.ledger_hash
    business.settings["reconcile"]["OVERWRITE"] = "true"
    assert business.run().record.ledger_hash == first


def test_from_the_console_script(business: Business) -> None:
    business.some()
    business.functions += PROCESS
    prepare(business)
    done = subprocess.run(
        [HANDFUL, "reconcile", str(business.directory)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what became of them" in done.stdout
    assert (artifacts(business) / "good-0/truth.json").exists()


def prepare(business: Business) -> None:
    """Write the experiment's files without running anything."""
    with tempfile.TemporaryDirectory() as scratch:
        business.open(Recording(), Path(scratch))


# --- killed at any moment ------------------------------------------------------------------------

KILLS = 3


def slow(folder: Path) -> Business:
    """Enough work that a kill finds something to interrupt."""
    business = Business(folder)
    business.columns = "id AS artifact_id, label"  # contents are read, too
    business.settings["reconcile"] |= {
        "FILES_ON_RESEARCH": "raw.txt, truth.json",
        "ON_LABEL_CONFLICT": "drop",
    }
    business.functions += "import time\n" + PROCESS.replace(
        "    told", "    time.sleep(0.01)\n    told", 1
    )
    return business


def fill(business: Business, count: int = 60) -> None:
    for number in range(count):
        name = f"doc-{number:03}"
        business.row(name, "cat" if number % 3 else "dog")
        path = business.file(
            f"{name}/raw.txt", f"text {number // 2 * 2 if number < 20 else number}"
        )
        os.utime(path, ns=(10**18, 10**18 + number))


def start(business: Business) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [HANDFUL, "reconcile", str(business.directory)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def lasting(business: Business) -> dict[str, bytes]:
    """What must be the same whatever happened on the way: all but time stamps."""
    root = business.folder / "store" / "EXP-1"
    found = tree(root)
    found = {k: v for k, v in found.items() if k.startswith("data/") and ".handful-tmp" not in k}
    record = json.loads(found.pop(layout.RECONCILED))
    summary = json.loads(found.pop(layout.SUMMARY))
    summary.pop("production_as_of")
    found.pop(layout.STATS, None)  # inodes and ctimes are each business's own
    for dated in (layout.SNAPSHOT, layout.PROCESSED, layout.CONTENTS):
        found.pop(dated)
    sums = pl.read_parquet(io.BytesIO(found.pop(layout.CHECKSUMS)))
    told = {
        "ledger_hash": record["ledger_hash"],
        "kept": record["kept"],
        "summary": summary,
        "checksums": sums.select("artifact_id", "file", "content").rows(),
    }
    return found | {"told": json.dumps(told).encode()}


@pytest.mark.slow
def test_killed_at_random_moments_a_rerun_ends_the_same(tmp_path: Path) -> None:
    undisturbed = slow(tmp_path / "undisturbed")
    fill(undisturbed)
    prepare(undisturbed)
    began = time.monotonic()
    process = start(undisturbed)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    seconds = time.monotonic() - began
    expected = lasting(undisturbed)
    moments = random.Random(os.environ.get("HANDFUL_TEST_SEED", "1"))
    interrupted = 0
    for number in range(KILLS):
        business = slow(tmp_path / f"killed-{number}")
        fill(business)
        prepare(business)
        process = start(business)
        try:
            process.wait(moments.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            interrupted += 1
        process.communicate()
        process = start(business)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert lasting(business) == expected
    assert interrupted >= 1


@pytest.mark.slow
def test_of_two_at_once_the_second_stops_and_a_killed_one_gives_way(tmp_path: Path) -> None:
    business = slow(tmp_path)
    fill(business)
    prepare(business)
    first = start(business)
    try:
        lock = business.folder / "store" / "EXP-1" / layout.LOCK
        until = time.monotonic() + 60
        while not lock.is_dir() and time.monotonic() < until:
            time.sleep(0.01)
        second = start(business)
        _, told = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"one at a time: reconcile of EXP-1 by process {first.pid}" in told
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    third = start(business)
    _, told = third.communicate(timeout=120)
    assert third.returncode == 0, told
    assert not list(lock.glob("*"))


def test_a_killed_run_leaves_no_orphans(business: Business) -> None:
    business.some()
    pid = business.folder / "pid"
    business.functions += only_for(
        "good-1", f'open("{pid}", "w").write(str(os.getpid())); time.sleep(60)'
    )
    prepare(business)
    process = start(business)
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert not alive(int(pid.read_text()))


def test_an_interrupt_ends_the_workers_and_leaves_with_130(business: Business) -> None:
    business.some()
    pid = business.folder / "pid"
    business.functions += only_for(
        "good-1", f'open("{pid}", "w").write(str(os.getpid())); time.sleep(60)'
    )
    prepare(business)
    process = start(business)
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not alive(int(pid.read_text()))
