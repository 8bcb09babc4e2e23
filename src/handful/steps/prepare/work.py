"""What passes between prepare and its workers: pieces of work there, answers back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

from handful.errors import DataError, Fault, FunctionsError, HandfulError, StepError
from handful.functions import Functions, load_functions
from handful.settings import Settings
from handful.steps.prepare.gauge import Gauge


@dataclass
class Desk:
    """What a worker has at hand for any work."""

    directory: Path
    """The experiment's own directory."""
    settings: Settings
    gauge: Gauge
    warm: set[str] = field(default_factory=set)
    """The models for which this process has encoded an instance."""

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

    def without(self, in_hand: range, why: str) -> Self:
        """The same work, after a worker was lost with these instances in hand (or none)."""


@dataclass(frozen=True)
class Setup:
    """The first thing that a worker is told."""

    directory: Path
    settings: Settings
    to_encode: bool = True
    """Is it to import, before any work comes, what encoding takes?"""


@dataclass(frozen=True)
class Done:
    """The work was done."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The work raised an error, told in a form that any process can read."""

    kind: str
    faults: tuple[Fault, ...]
    traceback: str

    @classmethod
    def of(cls, error: Exception, traceback: str) -> Failed:
        if isinstance(error, HandfulError):
            faults = getattr(error, "faults", None) or (error.fault,)
            return cls(type(error).__name__, tuple(faults), traceback)
        what = f"{type(error).__name__}: {error}"
        return cls("StepError", (Fault("a worker of prepare", what),), traceback)

    def raised(self) -> HandfulError:
        """The error, to be raised on this side; the worker's traceback is its note."""
        if self.kind == "FunctionsError":
            error: HandfulError = FunctionsError(self.faults)
        else:
            kinds: Mapping[str, type[HandfulError]] = {"DataError": DataError}
            fault = self.faults[0]
            error = kinds.get(self.kind, StepError)(
                fault.what, where=fault.where, remedy=fault.remedy
            )
        error.add_note(self.traceback)
        return error
