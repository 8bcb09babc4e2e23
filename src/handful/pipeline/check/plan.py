"""What `handful check` foresees: each step's work, time and disk, the cost, and the problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from handful.errors import HandfulError, Interrupted
from handful.pipeline.steps import STEP_NAMES
from handful.progress import Progress, Scalar


@dataclass(frozen=True)
class Span:
    """An estimate: from `low` to `high`."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Span:
        return Span(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class PlannedWork:
    """What the coming run does in one step."""

    step: str
    reasons: tuple[str, ...]
    """Why; empty: it is up to date."""
    work: str
    """In words."""
    seconds: Span | None
    """None: nobody can tell yet, or there is nothing to do."""
    source: str = ""
    """What the time is reckoned from."""
    store_bytes: Span = Span(0, 0)
    """What it adds to the store."""
    scratch_bytes: Span = Span(0, 0)
    """What it needs of the scratch folder for a while."""


@dataclass(frozen=True)
class DiskNeed:
    """What the run needs of one place, and what is there."""

    place: str
    """`store` or `scratch`."""
    where: str
    needs: Span
    """Bytes."""
    parts: Mapping[str, Span]
    """Of these: copies, encoded data, checkpoints, final models."""
    free: int | None
    """Bytes; None: nobody knows, as of a bucket."""


@dataclass(frozen=True)
class ForeseenProblem:
    """Something that will hurt."""

    step: str
    """When it hurts first."""
    stops: bool
    """Does the run end there?"""
    what: str
    remedy: str = ""
    error: HandfulError | None = None
    """What the run would end with, as far as check has met it."""

    def to_json(self) -> dict[str, Any]:
        told = {"step": self.step, "stops": self.stops, "what": self.what, "remedy": self.remedy}
        return {**told, "class": type(self.error).__name__ if self.error else None}


@dataclass(frozen=True)
class CheckPlan:
    """All of it."""

    steps: tuple[PlannedWork, ...]
    disk: tuple[DiskNeed, ...]
    dollars: float | None
    """What the jobs of the run will cost, about; None without such jobs, or if nobody knows."""
    problems: tuple[ForeseenProblem, ...]
    """Those that stop the run first, by when; then the others."""
    is_bounded: bool = False
    """Was production looked at in part, so that what is counted is `about` or `at least`?"""

    @property
    def seconds(self) -> Span | None:
        """Of all steps whose time is known; None if that is none."""
        known = [one.seconds for one in self.steps if one.seconds is not None]
        return sum(known[1:], known[0]) if known else None

    def raise_first(self) -> None:
        """Raise what would end the run first, if check has met it as an error."""
        for problem in self.problems:
            if problem.error is not None:
                raise problem.error

    def to_json(self) -> dict[str, Any]:
        told = [{**asdict(one), "up_to_date": not one.reasons} for one in self.steps]
        total = self.seconds
        return {
            "format": 1,
            "steps": told,
            "seconds": asdict(total) if total else None,
            "disk": [asdict(one) for one in self.disk],
            "dollars": self.dollars,
            "problems": [one.to_json() for one in self.problems],
            "bounded": self.is_bounded,
        }


def sort_problems(problems: Sequence[ForeseenProblem]) -> tuple[ForeseenProblem, ...]:
    """By how soon they would hurt: what stops the run, step by step; then what does not."""
    unique: dict[tuple[str, str], ForeseenProblem] = {}
    for one in problems:
        unique.setdefault((one.step, one.what), one)
    return tuple(
        sorted(unique.values(), key=lambda one: (not one.stops, STEP_NAMES.index(one.step)))
    )


@dataclass
class ProblemLog:
    """A `Progress` that passes everything on, and remembers the warnings as problems."""

    progress: Progress
    hide: Callable[[str], str] = str
    """Keeps secrets out of what is remembered."""
    step: str = STEP_NAMES[0]
    """In which step what is looked at now would hurt."""
    problems: list[ForeseenProblem] = field(default_factory=list)

    def note(self, message: str) -> None:
        self.progress.note(message)

    def warn(self, message: str) -> None:
        self.progress.warn(message)
        self.problems.append(ForeseenProblem(self.step, False, self.hide(message)))

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.progress.advance(task, done, total, unit, figures)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        self.progress.table(title, columns, rows)

    def foresee(self, step: str, error: HandfulError, *, stops: bool = True) -> None:
        """Remember what would end the run in `step`; or what only check has met, if it `stops`
        nothing."""
        fault = error.fault
        where = f"{fault.where}: " if fault.where else ""
        what, remedy = self.hide(f"{where}{fault.what}"), self.hide(fault.remedy)
        self.problems.append(ForeseenProblem(step, stops, what, remedy, error))

    @contextmanager
    def looking(self, step: str) -> Iterator[None]:
        """The body looks at what `step` needs: its errors are problems, and what does not depend
        on it is looked at all the same."""
        self.step = step
        try:
            yield
        except Interrupted:
            raise
        except HandfulError as error:
            self.foresee(step, error)
