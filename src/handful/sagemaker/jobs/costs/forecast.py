"""What a run will cost, and what it may: forecast, refusal, and the longest time of each job.

A forecast is time times price times instances. Not in it: storage, transfer, logs, and what a job
that is started again costs. Spot instances are forecast at the full price, which they do not pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from handful.backends.base import Job
from handful.errors import HandfulError, UserError
from handful.layout import model_folder
from handful.progress import Progress, Scalar
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.account.prices import price_of
from handful.sagemaker.jobs.costs.durations import Duration
from handful.sagemaker.jobs.costs.instances import Jobs
from handful.settings import Settings

START = 240.0
"""Seconds that are paid for while a job's image and data are brought: an assumption."""
_HOUR = 3_600
_FORECAST_COLUMNS = (
    "step",
    "model",
    "jobs",
    "instances",
    "hours each",
    "$/h",
    "cost, $",
    "measured by",
)


@dataclass(frozen=True)
class Price:
    """Of an instance for an hour, in US dollars."""

    dollars: float
    source: str


@dataclass(frozen=True)
class Line:
    """Alike jobs, with what is known of their time and price."""

    jobs: Jobs
    duration: Duration | None
    price: Price | None

    @property
    def seconds(self) -> float | None:
        """Of one job, its start included; None if nobody knows."""
        return None if self.duration is None else self.duration.seconds + START

    def cost(self, seconds: float) -> float | None:
        """Of all the jobs if each takes so long; None without a price."""
        if self.price is None:
            return None
        return seconds / _HOUR * self.price.dollars * self.jobs.instances * self.jobs.number

    @property
    def dollars(self) -> float | None:
        """The forecast; None if time or price is not known."""
        return None if self.seconds is None else self.cost(self.seconds)


@dataclass(frozen=True)
class Forecast:
    """All jobs of a run."""

    lines: tuple[Line, ...]

    @property
    def dollars(self) -> float:
        """Of all that is known."""
        return sum(line.dollars or 0.0 for line in self.lines)

    def seconds_of_steps(self) -> dict[str, float]:
        """Step → how long its jobs take, those that run at once side by side; where all are known.

        Starts are counted.
        """
        found: dict[str, float] = {}
        for line in self.lines:
            rounds = -(-line.jobs.number // line.jobs.at_once)
            if line.seconds is not None:
                found[line.jobs.step] = found.get(line.jobs.step, 0.0) + line.seconds * rounds
        unknown = {line.jobs.step for line in self.lines if line.seconds is None}
        return {step: seconds for step, seconds in found.items() if step not in unknown}

    @property
    def is_whole(self) -> bool:
        """Is every line's cost known?"""
        return all(line.dollars is not None for line in self.lines)


def prices_of(
    settings: Settings, jobs: Sequence[Jobs], clients: Clients, progress: Progress
) -> dict[tuple[str, str], Price]:
    """(type, usage) → price: AWS's list where it can be asked, else PRICE_PER_HOUR.

    With several types, the dearest of those that are known is what counts for a job.
    """
    found: dict[tuple[str, str], Price] = {}
    own = settings.sagemaker.PRICE_PER_HOUR
    reachable = True
    for kind, usage in dict.fromkeys((kind, one.usage) for one in jobs for kind in one.types):
        listed = None
        if reachable:
            try:
                listed = price_of(clients, kind, usage)
            except HandfulError as error:
                reachable = False
                said = "PRICE_PER_HOUR is used" if own else "set [sagemaker] PRICE_PER_HOUR"
                progress.warn(f"AWS's price list cannot be asked ({error.fault.what}): {said}")
        if listed is not None:
            found[kind, usage] = Price(listed, "AWS's price list")
        elif own:
            found[kind, usage] = Price(own, "PRICE_PER_HOUR")
    return found


def forecast(
    jobs: Sequence[Jobs],
    duration: Callable[[Jobs], Duration | None],
    prices: Mapping[tuple[str, str], Price],
) -> Forecast:
    """Put together what is known."""
    lines = []
    for one in jobs:
        known = [prices[kind, one.usage] for kind in one.types if (kind, one.usage) in prices]
        dearest = max(known, key=lambda price: price.dollars, default=None)
        lines.append(Line(one, duration(one), dearest))
    return Forecast(tuple(lines))


def show(found: Forecast, progress: Progress) -> None:
    """As a table, with the total; what is not known stays empty."""
    rows: list[tuple[Scalar, ...]] = [
        (
            line.jobs.step,
            line.jobs.what,
            line.jobs.number,
            f"{line.jobs.instances} x {' or '.join(line.jobs.types)}",
            None if line.seconds is None else round(line.seconds / _HOUR, 2),
            None if line.price is None else line.price.dollars,
            None if line.dollars is None else round(line.dollars, 2),
            "not measured yet" if line.duration is None else line.duration.source,
        )
        for line in found.lines
    ]
    at_least = "" if found.is_whole else "at least "
    title = f"what it will cost: {at_least}${found.dollars:,.2f}"
    progress.table(title, _FORECAST_COLUMNS, rows)
    sources = sorted({line.price.source for line in found.lines if line.price})
    if sources:
        progress.note(f"prices: {', '.join(sources)}; {START / 60:.0f} min a job for its start")


def refuse_past(found: Forecast, settings: Settings) -> None:
    """`UserError` if the forecast is past MAX_COST_USD, or there is no price to keep it with."""
    most = settings.sagemaker.MAX_COST_USD
    if most is None:
        return
    unpriced = sorted({kind for line in found.lines if not line.price for kind in line.jobs.types})
    if unpriced:
        raise UserError(
            f"nobody knows the price of {', '.join(unpriced)}, so MAX_COST_USD cannot be kept",
            where="[sagemaker] PRICE_PER_HOUR",
            remedy="write the price of an instance for an hour",
        )
    if found.dollars > most:
        raise UserError(
            f"the run is forecast to cost ${found.dollars:,.2f}, more than ${most:,.2f}",
            where="[sagemaker] MAX_COST_USD",
            remedy="raise it, take fewer EPOCHS, TRIALS, SEEDS or models, or a cheaper instance",
        )


def longest_seconds(found: Forecast, settings: Settings) -> dict[tuple[str, str], float]:
    """(step, model's folder) → how long each of its jobs may take, so that all keep MAX_COST_USD.

    Each job gets its forecast, and a share of what is left by its part of the cost; one that was
    never measured gets the share of an average one. Even if every job is stopped by its limit, the
    sum stays within MAX_COST_USD. Never longer than MAX_RUNTIME.
    """
    own, most = settings.sagemaker.MAX_RUNTIME, settings.sagemaker.MAX_COST_USD
    if most is None:
        return {(line.jobs.step, line.jobs.what): own for line in found.lines}
    refuse_past(found, settings)
    known = [line.dollars for line in found.lines if line.dollars is not None]
    average = sum(known) / len(known) if known else 1.0
    weights = [average if line.dollars is None else line.dollars for line in found.lines]
    slack = most - found.dollars
    longest = {}
    for line, weight in zip(found.lines, weights, strict=True):
        budget = (line.dollars or 0.0) + slack * weight / sum(weights)
        an_hour = line.cost(_HOUR)
        seconds = own if not an_hour else budget / an_hour * _HOUR
        longest[line.jobs.step, line.jobs.what] = min(own, seconds)
    return longest


def settings_with_job_limit(
    settings: Settings, longest: Mapping[tuple[str, str], float], job: Job
) -> Settings:
    """The settings for the request of `job`: with its own limit, where the run has given it one.

    `longest`: (step, the model's folder or "") → seconds.
    """
    place = (job.task, model_folder(job.model) if job.model else "")
    return cap_max_runtime(settings, longest[place]) if place in longest else settings


def cap_max_runtime(settings: Settings, seconds: float) -> Settings:
    """The settings whose MAX_RUNTIME is no longer than `seconds`: for the request of one job."""
    runtime = min(settings.sagemaker.MAX_RUNTIME, seconds)
    return replace(settings, sagemaker=replace(settings.sagemaker, MAX_RUNTIME=runtime))
