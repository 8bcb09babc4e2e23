"""The processes in which prepare reads and encodes."""

from __future__ import annotations

from pathlib import Path

from handful.settings import Settings
from handful.system.machine import cores
from handful.user_functions.workers.messages import Setup
from handful.user_functions.workers.pool import Workers


def workers_of(
    directory: Path, settings: Settings, scratch: Path, *, to_encode: bool = True
) -> Workers:
    """As many as NUM_PROCESSES asks for, or one for each core."""
    most = settings.prepare.NUM_PROCESSES or cores()
    setup = Setup(directory, settings, ("datasets",) if to_encode else None)
    return Workers(setup, scratch / "workers", most, memory=settings.prepare.WORKER_MEMORY)
