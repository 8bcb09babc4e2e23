"""The protocol of those who run jobs, and the job itself: a file in, a file out.

The same worker (`handful.backends.worker`) runs a job everywhere; a backend only decides where.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from handful.errors import StepError
from handful.jobs.arguments import ARGUMENTS, Arguments, ModelArgs
from handful.progress import Progress
from handful.storage.base import Store
from handful.system.machine import gpus

FORMAT = 1
"""Of a job file; builds before it had a number wrote the same."""


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker. Everything in it is JSON; a secret may be in `overrides`,
    which stay on this machine."""

    arguments: Arguments
    """What is to be done, and all that the task needs beside the settings."""
    experiment: str
    """The experiment's directory, where the worker finds settings.ini and functions.py."""
    overrides: tuple[str, ...] = ()
    """The `--set section.KEY=value` of the command line."""
    processes: int = 1
    """How many processes do it together."""
    lock: Mapping[str, Any] | None = None
    """What the worker writes under (see `lock_of`): it stops when its driver has lost that.
    None for a job that goes on without its driver, or that writes nothing."""

    @property
    def task(self) -> str:
        return self.arguments.task

    @property
    def model(self) -> str | None:
        """The one that it trains; None if it is no training."""
        return self.arguments.model if isinstance(self.arguments, ModelArgs) else None

    def content(self) -> dict[str, Any]:
        """All that it says. A job that is followed is known by this, from build to build: what has
        come later is left out where it says nothing."""
        told = {
            "task": self.task,
            "experiment": self.experiment,
            "overrides": self.overrides,
            "arguments": self.arguments.to_json(),
            "processes": self.processes,
        }
        return told if self.lock is None else {**told, "lock": self.lock}

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **self.content()}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """`StepError` if a later build has written it; ValueError, KeyError or TypeError if it is
        no job."""
        raw = dict(json.loads(text))
        if raw.get("format", FORMAT) > FORMAT:
            raise StepError(
                f"the job is written in format {raw['format']}, and {FORMAT} is the last one known",
                remedy="let the version of handful be the same where jobs are sent and done",
            )
        return cls(
            ARGUMENTS[raw["task"]].from_json(raw["arguments"]),
            raw["experiment"],
            tuple(raw["overrides"]),
            raw["processes"],
            raw.get("lock"),
        )


def lock_of(store: Store) -> Mapping[str, Any] | None:
    """The lock under which a job of whoever writes to `store` writes; None if there is none."""
    return store.fence.to_json() if store.fence is not None else None


class Backend(Protocol):
    """Runs jobs; and all that differs by who runs them. What stands here holds at home."""

    machines: int = 1
    """How many do a training together."""
    managed_steps: Sequence[str] = ()
    """The steps that run on machines that are started for them, and paid for."""
    searches: bool = False
    """A whole search is one job, "tune": it draws the trials too, and answers `{"trials": […]}`."""

    def run(self, job: Job, progress: Progress) -> Any:
        """Run `job` to its end and return what its task returned (JSON values).

        What the worker tells is passed on to `progress`. An error of `handful.errors` that the
        worker raised is raised here again, of the same class; any other end of the worker is a
        `StepError` with its last words.
        """

    def run_all(self, jobs: Iterable[Job], progress: Progress) -> list[Any]:
        """What each of `jobs`, which do not depend on each other, returned, in their order.

        One after the other, each drawn when its turn has come; the first error ends it. A backend
        that has machines enough runs them side by side, all to their end, and then raises.
        """
        return [self.run(job, progress) for job in jobs]

    def gpus(self) -> int | None:
        """How many each of its machines has; None: only they know."""
        return gpus()

    def encode_shares(
        self,
        made_from: Mapping[str, str],  # noqa: ARG002 - for those that do it
        before_anew: Callable[[], object] | None,  # noqa: ARG002
    ) -> bool:
        """Encode all shards of prepare, of which nothing is joined; False: that is to be done here.

        `before_anew` is called before that begins anew, and not before it goes on.
        """
        return False
