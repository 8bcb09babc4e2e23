"""What this machine has to give, as seen from inside a container or under an affinity mask."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


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
