"""Whole commands, timed from outside: wall seconds, CPU seconds and peak memory of each run."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One run of a command, its children that it waited for included."""

    status: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of user and system time."""
    peak: float
    """Megabytes, of the largest single process."""


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> Sample:
    """Run `command` to its end with its output thrown away."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Sample(process.returncode, wall, cpu, usage.ru_maxrss / 1024)


def median_of(samples: Sequence[Sample], figure: str) -> float:
    """The median of one figure ("wall", "cpu", "peak")."""
    return statistics.median(getattr(sample, figure) for sample in samples)


def line(name: str, samples: Sequence[Sample], limit: float | None = None) -> str:
    """Median, minimum and maximum of the wall time, CPU and memory, and the limit beside them."""
    walls = [sample.wall for sample in samples]
    verdict = ""
    if limit is not None:
        verdict = (
            f"   limit {limit:g} s: {'kept' if statistics.median(walls) < limit else 'MISSED'}"
        )
    return (
        f"{name:34} wall {statistics.median(walls):6.3f} s ({min(walls):.3f} to {max(walls):.3f})"
        f"   cpu {median_of(samples, 'cpu'):6.3f} s"
        f"   peak {median_of(samples, 'peak'):5.0f} MB{verdict}"
    )
