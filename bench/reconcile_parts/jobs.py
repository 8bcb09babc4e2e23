"""What a contestant of `copy` is told, and what it is timed with."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconcile_parts.generated import PREFIX, keys


@dataclass(frozen=True)
class Job:
    """What to copy: `files` of each artifact, `objects` in all, to a fresh folder."""

    endpoint_url: str
    source: str
    target: str
    folder: str
    objects: int
    files: int
    experiment: str = ""
    """Ours only: its directory."""

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Full keys: in production's bucket, and in the store's."""
        for key in keys(self.objects, self.files):
            yield f"{PREFIX}/{key}", f"{self.folder}/{key}"


@dataclass
class Span:
    """What was timed."""

    seconds: float = 0.0
    cpu: float = 0.0
    """Of this process and of the children that it has waited for."""
    details: dict[str, float] = field(default_factory=dict)
    began: float = 0.0
    """By `time.perf_counter`."""

    @contextmanager
    def timed(self) -> Iterator[None]:
        self.cpu -= cpu_seconds()
        self.began = time.perf_counter()
        yield
        self.seconds = time.perf_counter() - self.began
        self.cpu += cpu_seconds()


def cpu_seconds() -> float:
    """Of this process, and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def check(copied: int, job: Job) -> None:
    """RuntimeError if not all of them were copied."""
    if copied != job.objects:
        raise RuntimeError(f"{copied} of {job.objects} objects were copied")
