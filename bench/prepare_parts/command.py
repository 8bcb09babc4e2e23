"""`handful prepare`, a whole process tree watched from outside: memory, and the first shard."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.02
_MEMORY_EVERY = 5
"""Looks between two looks at the memory, which cost more."""


@dataclass(frozen=True)
class Watched:
    """One run of the command."""

    wall: float
    """Seconds."""
    first_shard: float | None
    """Seconds from the start until a shard and its marker stood in the store."""
    peak: float
    """MB resident in all processes at once; what they share is counted for each."""
    peak_shared_once: float
    """The same with shared pages counted once (the kernel's proportional set size)."""


def prepare(root: Path, more: Sequence[str] = ()) -> Watched:
    """Run the command on the experiment in `root`, from nothing encoded. RuntimeError if it fails.

    What is known of near-duplicates stays, as it does for a second model.
    """
    prepared = root / "store/measured/data/prepared_data"
    shutil.rmtree(prepared, ignore_errors=True)
    command = [str(Path(sys.executable).parent / "handful"), "prepare", str(root / "experiment")]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, *more], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    watch = _Watch(process.pid, prepared, began)
    watch.start()
    status = process.wait()
    wall = time.perf_counter() - began
    watch.end.set()
    watch.join()
    if status:
        raise RuntimeError(f"{' '.join(command)} left with status {status}")
    return Watched(wall, watch.first_shard, watch.peak, watch.peak_shared_once)


class _Watch(threading.Thread):
    def __init__(self, pid: int, prepared: Path, began: float) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._prepared = prepared
        self._began = began
        self.end = threading.Event()
        self.first_shard: float | None = None
        self.peak = self.peak_shared_once = 0.0

    def run(self) -> None:
        looks = 0
        while not self.end.wait(LOOK_SECONDS):
            if self.first_shard is None and any(self._prepared.glob("*/*/shards/*/0*.json")):
                self.first_shard = time.perf_counter() - self._began
            looks += 1
            if looks % _MEMORY_EVERY == 0:
                found = [_memory(pid) for pid in tree(self._pid)]
                self.peak = max(self.peak, sum(whole for whole, _ in found))
                self.peak_shared_once = max(self.peak_shared_once, sum(own for _, own in found))


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    with suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def _memory(pid: int) -> tuple[float, float]:
    """MB: resident, and with what is shared divided among those who share it."""
    figures = {"Rss": 0.0, "Pss": 0.0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in figures:
                figures[name] = int(rest.split()[0]) * 1024 / 1e6
    return figures["Rss"], figures["Pss"]


def forget_likeness(root: Path) -> None:
    """Have near-duplicates looked for again."""
    (root / "store/measured/data/near_duplicates.parquet").unlink(missing_ok=True)
