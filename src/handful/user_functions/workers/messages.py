"""What passes between a step and its workers: pieces of work there, answers back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

from handful.errors import HandfulError, StepError
from handful.errors.exceptions import (
    describe_exception,
    error_to_json,
    format_traceback,
    shortage,
)
from handful.settings import Settings
from handful.user_functions.load import Functions, load_functions
from handful.user_functions.workers.heartbeat import Gauge


@dataclass
class Desk:
    """What a worker has at hand for any work."""

    directory: Path
    """The experiment's own directory."""
    settings: Settings
    gauge: Gauge
    beside: Any = None
    """What `Setup` brought."""
    warm: set[str] = field(default_factory=set)
    """The models for which this process has encoded an instance, or that process_func has run."""

    @cached_property
    def functions(self) -> Functions:
        """functions.py, imported when first asked for. `FunctionsError` with all its faults."""
        return load_functions(self.directory)


class Work(Protocol):
    """One piece of work. It can be sent to another process, and so can its answer."""

    @property
    def losses(self) -> int:
        """How many workers were lost over it with no instance in hand."""

    @property
    def patience(self) -> float:
        """Seconds that the instances in hand may take."""

    def do(self, desk: Desk) -> Any:
        """Do it, telling `desk.gauge` what is in hand."""

    def without(self, in_hand: range, loss: Loss) -> Self | Done:
        """The same work, after a worker was lost with these instances in hand (or none).

        `Done` if nothing is left to do.
        """


@dataclass(frozen=True)
class Loss:
    """How a worker was lost."""

    why: str
    is_late: bool
    """Was it ended, since it took longer than the work's patience?"""
    is_ready: bool
    """Had it loaded functions.py?"""
    status: int
    """What it ended with: less than 0 for a signal."""
    last_words: str

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True)
class Setup:
    """The first thing that a worker is told."""

    directory: Path
    settings: Settings
    libraries: tuple[str, ...] | None
    """What it imports with functions.py before any work comes; None: not even that."""
    beside: Any = None
    """What else all works need."""
    step: str = "prepare"
    """Whose NUM_PROCESSES rules how many there are."""


@dataclass(frozen=True)
class Done:
    """The work was done."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The work raised an error."""

    error: Mapping[str, Any]
    """As `error_to_json` tells it."""

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        told = error if isinstance(error, HandfulError) else shortage(error)
        told = told or StepError(describe_exception(error), where="a worker of prepare")
        return cls({**error_to_json(told), "traceback": format_traceback(error)})
