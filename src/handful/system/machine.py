"""What this machine has to give, as seen from inside a container or under an affinity mask."""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
_HARDLY_ANY = 0.05
"""Of a machine's memory."""


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Look for no cyclic garbage meanwhile, nor ever in what was made meanwhile.

    For building what is here to stay: records by the hundred thousand, or libraries. Looking
    through them again and again takes a sixth to a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def cores(cgroup: Path = CGROUP) -> int:
    """Whole cores this process may use: its affinity, capped by the cgroup's quota; at least 1."""
    try:
        seen = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity outside Linux
        seen = os.cpu_count() or 1
    quota = _cgroup_cores(cgroup)
    return max(1, min(seen, quota) if quota else seen)


def _cgroup_cores(cgroup: Path) -> int | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def gpus() -> int:
    """NVIDIA GPUs that this process may use, without asking torch; 0 if there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = PROC / "driver/nvidia/gpus"
    count = len(list(found.iterdir())) if found.is_dir() else 0
    if visible is None:
        return count
    return min(count, len([one for one in visible.split(",") if one.strip() not in {"", "-1"}]))


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from any other that ever has the same number."""

    pid: int
    machine: str
    """Which running machine (or container) counts its processes so."""
    started: str
    """When, in the machine's own ticks; empty where that is not to be had."""


def this_process() -> ProcessIdentity:
    """The process that calls."""
    return ProcessIdentity(os.getpid(), _machine(), _read_process_start_time(os.getpid()))


def is_alive(process: ProcessIdentity) -> bool | None:
    """Whether it still runs; None if that cannot be seen from here."""
    if process.machine != _machine():
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and somebody else's
    return _read_process_start_time(process.pid) == process.started


def memory_is_short() -> bool:
    """Is this process held to less memory than there is (`ulimit -v`), or is hardly any left?

    Then one that gets none may be asking for nothing unusual.
    """
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return True
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
        told = (line.partition(":") for line in lines)
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in told}
        return kilobytes["MemAvailable"] < kilobytes["MemTotal"] * _HARDLY_ANY
    except (OSError, ValueError, KeyError, IndexError):  # no such file outside Linux
        return False


def resident(pid: int) -> int:
    """Bytes of memory that the process and its children have in hand; 0 if it is gone.

    What they share is counted for each of them.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        own = int(process.memory_info().rss)
        return own + sum(
            _process_resident_bytes(child) for child in process.children(recursive=True)
        )
    except psutil.Error:
        return 0


def _process_resident_bytes(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _machine() -> str:
    """The boot and the namespace of process numbers; the host's name where neither is known."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _read_process_start_time(pid: int) -> str:
    try:
        # The name in parentheses may hold anything; what follows the last one is in columns.
        fields = (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
        return "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return ""
