"""How far the step under way is, in the store, for whoever looks from elsewhere.

    progress.json    written every ten seconds by whoever runs the step, and removed at its end

A step that is through before the first ten seconds writes nothing. It is written by a thread of its
own, so that a store that does not answer keeps no work from going on; what goes wrong there is
passed over, since nothing depends on the file. One that a killed run has left is older than the
lock of the next one: see `read_progress`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from handful import layout
from handful.errors import HandfulError
from handful.progress import Progress, Scalar
from handful.records import json_types
from handful.records.moments import current_moment
from handful.storage.base import Store

WRITE_EVERY = 10.0
"""Seconds."""
_FORMAT = 1
_LAST_WAIT = 5.0
"""Seconds that the end of a step waits for a write that is under way."""


@dataclass(frozen=True)
class TaskProgress:
    """How far one task of a step is."""

    task: str
    done: int
    total: int | None
    unit: str
    per_second: float
    """Since the task began; 0 if that is too short to tell."""
    seconds_left: float | None
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Beside the bar: loss, bytes, …"""


@dataclass(frozen=True)
class StepProgress:
    """What `progress.json` says."""

    format: int
    step: str
    since: json_types.Moment
    at: json_types.Moment
    tasks: tuple[TaskProgress, ...]
    """Those under way, the last begun last."""


class _Published:
    """A `Progress` that passes everything on, and remembers how far each task is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskProgress] = {}
        self._began: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def note(self, message: str) -> None:
        self._progress.note(message)

    def warn(self, message: str) -> None:
        self._progress.warn(message)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        self._progress.table(title, columns, rows)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        self._progress.advance(task, done, total, unit, figures)
        now = time.monotonic()
        with self._lock:
            first, began = self._began.setdefault(task, (done, now))
            if total is not None and done >= total:
                self._tasks.pop(task, None)
                del self._began[task]
                return
            rate = (done - first) / (now - began) if now - began >= 0.5 else 0.0
            left = round((total - done) / rate, 1) if total is not None and rate > 0 else None
            told = dict(figures or {})
            self._tasks[task] = TaskProgress(task, done, total, unit, round(rate, 3), left, told)

    def tasks(self) -> tuple[TaskProgress, ...]:
        with self._lock:
            return tuple(self._tasks.values())


@contextmanager
def publish_progress(
    progress: Progress, store: Store, step: str, *, after_kill: bool = False
) -> Iterator[Progress]:
    """What the body tells this `Progress` reaches `progress`, and now and then the store.

    `after_kill`: a run that was killed may have left its own there, which goes with the step.
    """
    published, over, since = _Published(progress), threading.Event(), current_moment()
    written = [False]

    def keep_writing() -> None:
        while not over.wait(WRITE_EVERY):
            told = StepProgress(_FORMAT, step, since, current_moment(), published.tasks())
            with suppress(HandfulError):
                written[0] = True
                store.write(layout.PROGRESS, json.dumps(asdict(told)).encode())

    thread = threading.Thread(target=keep_writing, name="handful-progress", daemon=True)
    thread.start()
    try:
        yield published
    except BaseException:
        over.set()
        if written[0]:
            # Whoever interrupts does not want to wait for a store that is gone.
            leaving = threading.Thread(target=_remove_progress, args=(store,), daemon=True)
            leaving.start()
            leaving.join(_LAST_WAIT)
        raise
    over.set()
    thread.join(_LAST_WAIT)
    if written[0] or after_kill:
        _remove_progress(store)


def _remove_progress(store: Store) -> None:
    with suppress(HandfulError):
        store.delete([layout.PROGRESS])


def read_progress(store: Store, step: str, since: str) -> StepProgress | None:
    """Of the `step` whose lock is held `since` that moment; None if it has told nothing yet."""
    try:
        raw = json_types.loads(store.read(layout.PROGRESS))
        found = json_types.from_json(StepProgress, raw)
    except (HandfulError, ValueError, TypeError):
        return None
    # The lock is taken first; its moment has fractions of a second, and this one has none.
    is_of_now = found.at[:19] >= since[:19]
    return found if found.step == step and is_of_now else None
