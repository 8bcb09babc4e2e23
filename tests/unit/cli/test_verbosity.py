"""How much is told, where a terminal is, and how wide it is."""

from __future__ import annotations

import sys

import pytest

from handful.cli.completion import COMPLETED_STEPS, complete_setting, complete_step
from handful.cli.console import JsonLines, PlainLines, Quiet, QuietJson, Terminal, listener
from handful.cli.verbosity import Verbosity, choose_verbosity, draws_bars, fold
from handful.errors import UserError
from handful.pipeline.steps import STEP_NAMES


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("CI", "NO_COLOR", "HANDFUL_VERBOSITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    return monkeypatch


def test_options_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANDFUL_VERBOSITY", raising=False)
    assert choose_verbosity(False, False) is Verbosity.NORMAL
    assert choose_verbosity(True, False) is Verbosity.QUIET
    monkeypatch.setenv("HANDFUL_VERBOSITY", "verbose")
    assert choose_verbosity(False, False) is Verbosity.VERBOSE
    assert choose_verbosity(True, False) is Verbosity.QUIET
    with pytest.raises(UserError, match="at once"):
        choose_verbosity(True, True)
    monkeypatch.setenv("HANDFUL_VERBOSITY", "loud")
    with pytest.raises(UserError, match="no verbosity"):
        choose_verbosity(False, False)


def test_bars_only_where_they_can_be_drawn(terminal: pytest.MonkeyPatch) -> None:
    assert draws_bars()
    assert isinstance(listener(as_json=False), Terminal)
    terminal.setenv("CI", "false")
    assert draws_bars()
    terminal.setenv("CI", "1")
    assert not draws_bars()
    terminal.delenv("CI")
    terminal.setenv("TERM", "dumb")
    assert isinstance(listener(as_json=False), PlainLines)


def test_who_listens(terminal: pytest.MonkeyPatch) -> None:
    assert type(listener(True)) is JsonLines
    assert type(listener(True, Verbosity.QUIET)) is QuietJson
    assert type(listener(False, Verbosity.QUIET)) is Quiet


def test_quiet_tells_the_result_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for one in (Quiet(), QuietJson()):
        one.note("n")
        one.warn("w")
        one.debug("d")
        one.advance("t", 1, 2)
        one.table("t", ("a",), [(1,)])
        assert capsys.readouterr().out == ""
        one.result("the report: x", again=True)
        assert "the report: x" in capsys.readouterr().out


def test_what_notes_have_said_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    for one in (PlainLines(), Terminal()):
        one.result("said", again=True)
        one.result("new")
    assert capsys.readouterr().out == "new\nnew\n"


def test_lines_are_folded_between_words_on_terminals_alone(
    terminal: pytest.MonkeyPatch,
) -> None:
    terminal.setenv("COLUMNS", "30")
    text = "  a long line of a few words that goes on\nshort"
    assert fold(text) == "  a long line of a few words\n    that goes on\nshort"
    path = "the report: /a/very/long/path/that/nobody/may/break.html"
    assert path.split()[-1] in fold(path).split("\n")[-1]
    terminal.setattr(sys.stdout, "isatty", lambda: False)
    assert fold(text) == text


def test_the_steps_that_are_completed_are_all_there_are() -> None:
    assert COMPLETED_STEPS == STEP_NAMES
    assert complete_step("t") == ["tune", "train", "test"]


def test_keys_are_completed_in_any_case() -> None:
    assert complete_setting("TRAIN.epo") == ["train.EPOCHS=", "train.EPOCHS=3"]
    assert complete_setting("nothing.") == []
    assert len(complete_setting("")) > 50
