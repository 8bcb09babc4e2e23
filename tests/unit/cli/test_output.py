"""What is printed for nobody: `handful … | head -1`, and a disk that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HANDFUL = str(Path(sys.executable).with_name("handful"))
PROGRAM = """
import sys
from handful import cli
from handful.cli.command import errors_told
from handful.cli.output import has_reader

@cli.app.command()
def prints():
    with errors_told(traceback=False) as progress:
        for n in range(5):
            progress.note(f"line {n} " + 100_000 * "x")
            progress.table("t", ("a",), [(n,)])
            print(n, flush=True)
        sys.stderr.write(f"to its end, read: {has_reader()}\\n")
        __BODY__

sys.argv = ["handful", "prints"]
cli.main()
"""


def run(body: str, words: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {words}', sys.executable, body],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("pass", 0, ""),
        ("from handful.errors import UserError; raise UserError('yours')", 2, "error: yours"),
    ],
)
def test_the_reader_may_leave_and_the_work_goes_on(body: str, status: int, said: str) -> None:
    done = run(PROGRAM.replace("__BODY__", body), "| head -c 5")
    assert done.stdout == "line "
    assert done.stderr.startswith("to its end, read: False\n")
    assert said in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == status


def test_nobody_reads_the_errors_either() -> None:
    body = "from handful.errors import UserError; raise UserError('yours')"
    done = run(PROGRAM.replace("__BODY__", body), "2>&1 | head -c 5")
    assert done.stdout == "line "
    assert not done.stderr
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full outside Linux")
@pytest.mark.parametrize("words", [["--version"], ["settings"]], ids=" ".join)
def test_a_full_disk_is_told_in_words(words: list[str]) -> None:
    """Few lines are written when all is over, many before."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [HANDFUL, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    told = "error: standard output cannot be written: No space left on device"
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 2
    assert done.returncode == 1


COMMANDS = [["settings", "--json"], ["--help"], ["--version"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_that_prints_may_be_cut_short(words: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [HANDFUL, *words], stdout=writes, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writes)
    assert done.stderr == ""
    assert done.returncode == 0
