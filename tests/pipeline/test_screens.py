"""Every command on a terminal, in a pipe, without colours, quietly, in detail, and for machines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from handful.layout import Layout
from handful.storage.lock import hold_lock
from handful.storage.open import open_store
from tests.support.cuts import cheap_cut
from tests.support.terminals import COLOURS, Shown, environment, on_terminal, open_terminal
from tests.support.tiny import HANDFUL, Tiny, make

NAME = "EXP-0001-tiny"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """An experiment whose steps are all up to date; for tests that change nothing in it."""
    tiny = make(tmp_path_factory.mktemp("screens"))
    functions = tiny.experiment / "functions.py"
    text = functions.read_text().replace(', "labels": label2id[label]', "")
    functions.write_text(re.sub(r"    label = json.loads.*\n", "", text))
    run = tiny.handful("run", "--quiet")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"the report: {tiny.store}/results/full_dataset/report.html\n"
    return tiny


@pytest.fixture
def copy(done: Tiny, tmp_path: Path) -> Tiny:
    return Tiny(Path(shutil.copytree(done.root, tmp_path / "copy")))


def piped(tiny: Tiny, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HANDFUL, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tiny.root,
        env=environment(**env),
    )


def shown(tiny: Tiny, *words: str, columns: int = 80, **env: str) -> Shown:
    return on_terminal([HANDFUL, *words], cwd=tiny.root, env=env, columns=columns)


COMMANDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    # The words, and what is to be read in every mode for people.
    "status": (("status", NAME), "up to date"),
    "run": (("run", NAME), "the report:"),
    "dry run": (("run", NAME, "--dry-run"), "up to date"),
    "reconcile": (("reconcile", NAME), "reconcile: up to date|60 artifacts are kept"),
    "prepare": (("prepare", NAME), "prepare: up to date|model: 36 train"),
    "train": (("train", NAME), "train: up to date|1 trained models stand"),
    "test": (("test", NAME), "test: up to date|1 trained models are tested"),
    "compare": (("compare", NAME), "baseline"),
    "report": (("report", NAME), "the report:"),
    "check": (("check", NAME, "--offline"), "what `handful run` will do"),
    "predict": (("predict", NAME, "files/artifact-0000"), "artifact-0000"),
    "two compared": (("compare", NAME, "EXP-0002-twin"), "artifacts"),
}
CHEAP = ("status", "run", "compare", "report")
MODES: Mapping[str, tuple[bool, tuple[str, ...], Mapping[str, str]]] = {
    # On a terminal? Further words, and the environment.
    "terminal": (True, (), {}),
    "pipe": (False, (), {}),
    "no colour": (True, (), {"NO_COLOR": "1"}),
    "dumb": (True, (), {"TERM": "dumb"}),
    "build": (True, (), {"CI": "true"}),
    "quiet": (True, ("--quiet",), {}),
    "quietly by the environment": (False, (), {"HANDFUL_VERBOSITY": "quiet"}),
    "verbose": (False, ("--verbose",), {}),
    "json": (False, ("--json",), {}),
    "quiet json": (False, ("--json", "--quiet"), {}),
}
EVERY = [(command, mode) for command in COMMANDS for mode in MODES]
FEW = [(command, mode) for command in CHEAP for mode in MODES]


@pytest.mark.parametrize("case", cheap_cut(EVERY, FEW), ids=": ".join)
def test_a_command_in_a_mode(done: Tiny, case: tuple[str, str]) -> None:
    command, mode = case
    words, told = COMMANDS[command]
    terminal, more, env = MODES[mode]
    if command == "two compared":
        twin(done)
    if terminal:
        on = shown(done, *words, *more, **env)
        assert on.process.returncode == 0, on.text
        raw, text = on.raw, on.text
    else:
        through = piped(done, *words, *more, **env)
        assert through.returncode == 0, through.stderr
        raw = text = through.stdout
    assert "Traceback" not in text
    if "--json" in more:
        events = [json.loads(line) for line in text.splitlines()]
        assert events
        if "--quiet" in more and command != "predict":
            results = {"result", "status", "plan", "comparison"}
            assert {one["event"] for one in events} <= results
        return
    assert re.search(told, text)
    if not terminal or mode in {"dumb", "build"}:
        assert "\x1b" not in raw
        assert "\r" not in raw.replace("\r\n", "\n")
    if mode == "no colour":
        assert not COLOURS.search(raw)
    if "quiet" in mode and command not in {"status", "check", "predict", "dry run"}:
        assert not [line for line in text.splitlines() if ": up to date" in line]
    if terminal and command != "predict":  # its lines are for machines
        assert max(map(len, on.lines)) <= 80 or "/" in max(on.lines, key=len)


def twin(done: Tiny) -> None:
    """Another experiment beside it, with the same results."""
    other, store = done.root / "EXP-0002-twin", done.root / "store" / "EXP-0002-twin"
    if not other.exists():
        shutil.copytree(done.store, store)
        shutil.copytree(done.experiment, other)


def test_the_status_fits_on_one_screen_and_has_colours(done: Tiny) -> None:
    on = shown(done, "status", NAME)
    assert COLOURS.search(on.raw)
    assert len(on.lines) <= 24
    text = on.text
    for words in ("kept: 60 artifacts of 3 labels", "36 train, 12 validation, 12 test", "best: "):
        assert words in text
    assert "baselines: " in text
    assert "next: read the report" in text


def test_a_narrow_terminal_is_honoured(done: Tiny) -> None:
    for command in ("status", "compare"):
        for env in ({}, {"TERM": "dumb"}):
            on = shown(done, command, NAME, columns=44, **env)
            long = [line for line in on.lines if len(line) > 44 and " " in line.strip()]
            assert [line for line in long if len(max(line.split(), key=len)) < 40] == []


def test_a_log_is_not_folded(done: Tiny) -> None:
    told = piped(done, "compare", NAME).stdout
    assert max(map(len, told.splitlines())) > 100


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_utf8_ends_no_command(copy: Tiny, encoding: str) -> None:
    strange = copy.root.rename(copy.root.with_name("größe→"))
    tiny = Tiny(strange)
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for result in (
        shown(tiny, "status", NAME, **env),
        shown(tiny, "compare", NAME, **env),
        shown(tiny, "run", NAME, "--redo", "report", **env),
    ):
        assert result.process.returncode == 0, result.text
        assert "Traceback" not in result.text
    for words in (("status", NAME), ("run", NAME), ("compare", NAME), ("status", NAME, "--json")):
        through = subprocess.run(
            [HANDFUL, *words],
            capture_output=True,
            check=False,
            cwd=tiny.root,
            env=environment(**env),
        )
        assert through.returncode == 0, through.stderr
        if "--json" in words:
            assert "größe→" in json.loads(through.stdout)["url"]


def test_bars_are_for_terminals_alone(copy: Tiny) -> None:
    words = ("run", NAME, "--from", "test", "--redo", "test")
    through = piped(copy, *words)
    assert through.returncode == 0, through.stderr
    assert "test model seed 0: 24/24 documents" in through.stdout
    assert "\x1b" not in through.stdout
    assert "\r" not in through.stdout
    assert "━" not in through.stdout
    on = shown(copy, *words)
    assert "━" in on.raw


def test_details_tell_where_time_goes(copy: Tiny) -> None:
    told = piped(copy, "run", NAME, "--redo", "report", "--verbose").stdout
    assert "s  report took " in told
    events = piped(copy, "run", NAME, "--redo", "report", "--verbose", "--json").stdout
    assert "debug" in {json.loads(line)["event"] for line in events.splitlines()}


def test_options_that_contradict_each_other(done: Tiny) -> None:
    through = piped(done, "status", NAME, "--quiet", "--verbose")
    assert through.returncode == 2
    assert "say one of the two" in through.stderr
    through = piped(done, "status", NAME, HANDFUL_VERBOSITY="loud")
    assert through.returncode == 2
    assert "HANDFUL_VERBOSITY" in through.stderr
    assert piped(done, "status", NAME, "5").returncode == 2


def test_errors_are_told_quietly_too(done: Tiny) -> None:
    through = piped(done, "run", NAME, "--quiet", "--from", "encode")
    assert through.returncode == 2
    assert through.stdout == ""
    assert "there is no step 'encode'" in through.stderr


# --- watching ------------------------------------------------------------------------------------


def test_who_watches_what_is_done_sees_it_and_leaves(done: Tiny) -> None:
    assert shown(done, "status", NAME, "--watch").process.returncode == 0
    through = piped(done, "status", NAME, "--watch", "1")
    assert through.returncode == 0
    assert "report: up to date" in through.stdout
    (event,) = piped(done, "status", NAME, "--watch", "--json").stdout.splitlines()
    assert json.loads(event)["done"] is True


def test_a_watch_is_drawn_in_place_and_ends_by_ctrl_c(copy: Tiny) -> None:
    (copy.store / "results/full_dataset/report.html").unlink()
    words = [HANDFUL, "status", NAME, "--watch", "0.2"]
    watch = open_terminal(words, cwd=copy.root)
    watch.wait_for("report.html is gone")
    first = watch.raw.count("\x1b[1A")
    store = open_store(str(copy.store))
    with hold_lock(store, Layout("full_dataset").results_lock, "report of X"):
        watch.wait_for("in progress: process")
    assert watch.raw.count("\x1b[1A") > first
    watch.interrupt()
    assert watch.wait() == 130
    assert "Traceback" not in watch.text


def test_a_watch_in_a_pipe_is_a_line_for_each_change_until_the_run_is_done(copy: Tiny) -> None:
    (copy.store / "results/full_dataset/report.html").unlink()
    watch = subprocess.Popen(
        [HANDFUL, "status", NAME, "--watch", "0.2"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=copy.root,
        env=environment(),
    )
    assert watch.stdout is not None
    lines = []
    for line in watch.stdout:
        lines.append(line)
        if line.startswith("next: "):
            break
    run = piped(copy, "run", NAME)
    assert run.returncode == 0, run.stderr
    rest, _ = watch.communicate(timeout=60)
    assert watch.returncode == 0
    assert "report: to do" in "".join(lines)
    assert "report: up to date" in rest
    assert "reconcile" not in rest  # nothing changed there


# --- completion ----------------------------------------------------------------------------------

SCRIPT = """
eval "$(_HANDFUL_COMPLETE=source_bash handful)"
COMP_WORDS=(handful {words} "$1"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_handful_completion handful
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(root: Path, words: str, last: str) -> list[str]:
    """What bash offers behind `handful WORDS LAST`, as its own function for it says."""
    path = f"{Path(HANDFUL).parent}:{environment()['PATH']}"
    told = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT.format(words=words), "bash", last],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=environment(PATH=path),
    )
    assert told.stderr == ""
    return told.stdout.split()


def test_bash_completes_commands_experiments_keys_and_steps(done: Tiny) -> None:
    root = done.root
    assert completed(root, "", "re") == ["reconcile", "report"]
    assert NAME in completed(root, "run", "")
    assert "store/EXP-0001-tiny" not in completed(root, "run", "st")
    assert NAME in completed(root, "compare", "EXP")
    assert completed(root, f"run {NAME} --from", "t") == ["tune", "train", "test"]
    assert completed(root, f"run {NAME} --redo", "rec") == ["reconcile"]
    assert completed(root, f"train {NAME} --set", "train.EPO") == [
        "train.EPOCHS=",
        "train.EPOCHS=3",
    ]
    assert "production.LABEL_QUERY=" in completed(root, f"check {NAME} --set", "production.")
    assert "--quiet" in completed(root, "run", "--q")


def cpu_seconds(root: Path, env: Mapping[str, str], *words: str) -> float:
    """The least of five calls of handful: a shared machine's clock would lie."""
    script = (
        "import subprocess, resource, sys\n"
        "subprocess.run(sys.argv[1:], capture_output=True, check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)\n"
    )
    command = [sys.executable, "-c", script, HANDFUL, *words]
    return min(
        float(
            subprocess.run(
                command, capture_output=True, text=True, check=True, cwd=root, env=env
            ).stdout
        )
        for _ in range(5)
    )


def test_a_key_press_is_answered_soon(done: Tiny) -> None:
    """In 0.3 s; on a machine that is slower, or busy, in three times what `--help` takes."""
    words = f"handful\ntrain\n{NAME}\n--set\ntrain.EPO"
    env = environment(_HANDFUL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4")
    help_alone = cpu_seconds(done.root, environment(), "--help")
    assert cpu_seconds(done.root, env) < max(0.3, 3 * help_alone)
