from __future__ import annotations

import json
import time

import pytest

from handful.cli.console import JsonLines, PlainLines, Terminal, duration, figure, listener


def test_a_log_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(listener(as_json=False), PlainLines)  # pytest's output is no terminal
    lines = PlainLines()
    lines.note("hello")
    lines.warn("careful")
    lines.advance("copy", 0, 10, "files")
    for done in range(1, 10):
        lines.advance("copy", done, 10, "files")
    lines.advance("copy", 10, 10, "files", {"MB": 1.5})
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["hello", "warning: careful"]
    # Only the end is told; all before comes too fast for a log.
    assert len(said) == 3
    assert "10/10 files" in said[2]
    assert "MB 1.5" in said[2]


def test_json_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    lines = JsonLines()
    lines.note("hello\nworld")
    lines.advance("copy", 5, None, "files")
    lines.table("t", ("a", "b"), [("x", 1)])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in said] == ["note", "progress", "table"]
    assert said[1]["total"] is None
    assert said[1]["seconds_left"] is None
    assert said[2]["rows"] == [["x", 1]]


def test_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from handful.cli.console import Pace

    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(began_at=50, began=now)
    now = 110.0
    assert pace.rate(150) == 10.0
    assert pace.left(150, 200) == 5.0
    assert pace.left(150, None) is None


def test_a_table_in_a_log_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    PlainLines().table("labels", ("label", "artifacts"), [("MIT", 1200), ("a-long-name", 3)])
    assert capsys.readouterr().out.splitlines() == [
        "labels",
        "  label        artifacts",
        "  MIT          1,200",
        "  a-long-name  3",
    ]


def test_a_terminal_survives_markup_in_messages(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.note("[bold]not markup[/] [/oops]")
    terminal.table("t", ("a",), [("[red]",)])
    terminal.advance("a [b] task", 1, 2, "files")
    terminal.advance("a [b] task", 2, 2, "files")
    terminal.close()
    said = capsys.readouterr().out
    assert "[bold]not markup[/] [/oops]" in said
    assert "[red]" in said


def test_figures_and_durations() -> None:
    assert [figure(x) for x in (True, 12345, 0.12345, 12345.6, None, "x")] == [
        "yes",
        "12,345",
        "0.123",
        "12,346",
        "",
        "x",
    ]
    assert [duration(x) for x in (12.9, 200, 3725)] == ["12s", "3m20s", "1h02m"]


def test_labels_of_a_database_move_no_cursor_and_forge_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = PlainLines()
    lines.table(
        "labels", ("label", "n"), [("a\x1b[31mEVIL", 1), ("b\nwarning: fake", 2), ("x" * 3000, 3)]
    )
    lines.note("two lines\n  of ours, and \x1b[2J\tthe rest")
    lines.warn("\u202eright to left")
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert not any(line.startswith("warning: fake") for line in told.splitlines())
    assert "two lines\n  of ours" in told
    assert max(map(len, told.splitlines())) < 200
