"""The mark of a store: damaged, it is no store of ours, whatever lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from handful.cli import app
from handful.experiment.context import open_experiment
from handful.progress import Silent
from tests.support.preparing import bench


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"format": "1"}', '{"format": true}', '{"format": 0}', "\x00"]
)
def test_status_does_not_take_a_damaged_mark_for_up_to_date(tmp_path: Path, text: str) -> None:
    made = bench(tmp_path, 1)
    store = open_experiment(made.directory, (), Silent(), tmp_path).store
    store.write("store.json", text.encode())
    done = CliRunner().invoke(app, ["status", str(made.directory)])
    assert done.exit_code == 2, done.output
    assert "its mark is damaged" in done.output
    store.write("store.json", b'{"format": 1}')
    assert CliRunner().invoke(app, ["status", str(made.directory)]).exit_code == 0
