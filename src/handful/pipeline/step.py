"""What a step is, what a call wants of the steps, and in what state a step is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from handful.backends.base import Backend
from handful.errors import Damaged
from handful.experiment.context import Experiment
from handful.records import Fingerprint, Record

R = TypeVar("R", bound=Record)
Records = dict[str, Record]
"""The records of the steps before, by step."""


@dataclass(frozen=True)
class Choice:
    """Which steps a call wants."""

    first: str | None = None
    """`--from`: the steps before it are taken as they stand."""
    last: str | None = None
    """`--until`: the steps after it are not run."""
    redo: frozenset[str] = frozenset()
    """`--redo`: run these even if nothing changed."""
    refresh: bool = False
    """Take production anew."""
    prune: bool = False
    """Remove what the ledger no longer keeps."""
    resume_anyway: bool = False
    """Go on with an interrupted training although something changed."""
    verify: bool = False
    """Compare the content of every file that a record names."""
    trainers: Backend | None = None
    """The backend that trains; None: this machine."""

    @property
    def again(self) -> frozenset[str]:
        """The steps to run even if nothing changed."""
        return self.redo | ({"reconcile"} if self.refresh or self.prune else set())


@dataclass(frozen=True)
class Step:
    """One step: its name, the class of its record, where that is kept, and how it is done."""

    name: str
    record: type[Record]
    kept_at: Callable[[Experiment], str]
    made_from: Callable[[Experiment, Records], Fingerprint]
    locked_at: Callable[[Experiment], str]
    """Whoever runs the step holds the lock in this folder of the store."""
    outputs: Callable[[Experiment, Any], list[str]]
    """A few keys whose absence means that somebody removed the step's results."""
    run: Callable[[Experiment, Records, Fingerprint, Choice], Record]
    again: Callable[[Experiment, Any], list[str]] = lambda *_: []
    """Why it has to run although nothing that it is made from changed."""


def get_record(records: Records, kind: type[R]) -> R:
    """The record of this class."""
    return next(record for record in records.values() if isinstance(record, kind))


@dataclass(frozen=True)
class State:
    """What would happen to a step, and why."""

    step: str
    record: Record | None
    reasons: tuple[str, ...]
    """Empty if the step is up to date; else why it has to run: all that is known."""
    damage: tuple[Damaged, ...] = ()
    """Its files that are not as it left them: nothing is made of these."""

    @property
    def reason(self) -> str:
        """The first of them."""
        return self.reasons[0] if self.reasons else ""

    @property
    def up_to_date(self) -> bool:
        return not self.reasons and not self.damage

    def check(self) -> None:
        """Raise the first of the damage, and how much more there is."""
        if self.damage:
            first, more = self.damage[0], len(self.damage) - 1
            what = first.fault.what + (f"; and {more} more of {self.step}'s files" if more else "")
            raise Damaged(what, where=first.fault.where, remedy=first.fault.remedy)
