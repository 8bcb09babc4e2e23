"""The processes of one command of handful: found by a mark in their environment, whoever's children
they have become."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "CHAOS_MARK"
PATIENCE_SECONDS = 300.0
"""No command may take so long, whatever is done to it."""


class Hangs(Exception):
    """A command does not end."""


@dataclass
class Command:
    """A running command, with all that it has started."""

    mark: str
    process: subprocess.Popen[bytes]
    log: Path

    @staticmethod
    def start(words: Sequence[str], env: Mapping[str, str], mark: str, log: Path) -> Command:
        with log.open("wb") as out:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**env, MARK: mark},
                start_new_session=True,
            )
        return Command(mark, process, log)

    def pids(self) -> list[int]:
        """The driver and all that it has started, wherever they hang in the tree."""
        return sorted(marked(self.mark))

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def ended(self) -> int:
        """The driver's exit status; `Hangs` if it does not end."""
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Hangs(f"no end after {PATIENCE_SECONDS:.0f} s") from None

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end_all(self) -> None:
        """Nothing of it goes on after this."""
        until = time.monotonic() + 10
        while (pids := marked(self.mark)) and time.monotonic() < until:
            self.signal(sorted(pids), signal.SIGKILL)
            time.sleep(0.02)
        self.process.wait()


def marked(*marks: str) -> set[int]:
    """Whatever runs with one of the marks; those that have ended and wait to be buried are none."""
    wanted = [f"{MARK}={mark}\0".encode() for mark in marks]
    found = set()
    for folder in Path("/proc").iterdir() if wanted else ():
        if folder.name.isdecimal():
            with suppress(OSError):
                told = (folder / "environ").read_bytes() + b"\0"
                if any(one in told for one in wanted):
                    found.add(int(folder.name))
    return found


def what_runs(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return "has ended"
