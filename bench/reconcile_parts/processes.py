"""A fresh process for each measurement, and what it and its children took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "reconcile.py"
_LOOK_SECONDS = 0.1
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class Measured:
    """One process, from its start to its end."""

    status: int
    output: str
    """Its standard output."""
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of user and system time, its children included."""
    peak: float
    """MB that lay in memory at once. The tree's processes are added up, so what forked ones share
    counts for each of them; a process without children is exact."""

    @property
    def told(self) -> dict[str, Any]:
        """The last line of the output, which is JSON."""
        found: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return found


def measured(command: Sequence[str], env: Mapping[str, str] | None = None) -> Measured:
    """Run `command` to its end; its errors go where ours go."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = _Watch(process.pid)
    watch.start()
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    watch.end.set()
    watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    peak = max(usage.ru_maxrss * 1024 / 1e6, watch.peak)
    return Measured(process.returncode, output, wall, cpu, peak)


def itself(part: str, job: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Measured:
    """Run `part` of this benchmark in a fresh process; RuntimeError if it fails."""
    result = measured([sys.executable, str(SCRIPT), "_part", part, json.dumps(job)], env)
    if result.status:
        raise RuntimeError(f"{part} left with status {result.status}: {result.output[-2000:]}")
    return result


class _Watch(threading.Thread):
    """Adds up the memory of a process and all below it, now and then."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.end = threading.Event()
        self.peak = 0.0

    def run(self) -> None:
        while not self.end.wait(_LOOK_SECONDS):
            self.peak = max(self.peak, sum(_memory(pid) for pid in _tree(self._pid)))


def _tree(pid: int) -> list[int]:
    found = [pid]
    with suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    return found


def _memory(pid: int) -> float:
    """MB."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError, ValueError):
        return 0.0
