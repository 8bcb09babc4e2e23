"""What `handful check` foresees, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handful.cli.console import ScreenLine, duration, listener_of

if TYPE_CHECKING:
    from handful.pipeline.check.plan import CheckPlan, DiskNeed, PlannedWork, Span
    from handful.progress import Progress

TITLE = "what `handful run` will do"
_OBVIOUS = ("not done yet", "has to run first")
_SECONDS_A_DAY = 86_400


def show_plan(progress: Progress, plan: CheckPlan) -> None:
    """The plan, as whoever listens wants it."""
    listener = listener_of(progress)
    if listener.hears_all:
        rows = [(one.step, _run_or_nothing(one)) for one in plan.steps]
        listener.table(TITLE, ("step", "what"), rows)
    listener.screen("plan", plan_lines(plan), plan.to_json())


def _run_or_nothing(one: PlannedWork) -> str:
    return f"run: {one.reasons[0]}" if one.reasons else "nothing: up to date"


def plan_lines(plan: CheckPlan) -> list[ScreenLine]:
    """Steps, time, disk, money, and then the problems, the soonest first."""
    lines = [ScreenLine(f"{TITLE} (times and sizes are estimates)", "bold")]
    for one in plan.steps:
        lines += _work_lines(one)
    if any(one.reasons for one in plan.steps):
        lines.append(ScreenLine(f"time: {_total_time(plan)}"))
    if plan.is_bounded:
        lines.append(ScreenLine("production was read in part: there may be more than is said here"))
    lines += [ScreenLine(_describe_need(need)) for need in plan.disk if need.needs.high]
    if plan.dollars is not None:
        lines.append(ScreenLine(f"cost: about ${plan.dollars:,.2f}"))
    return [*lines, *_problem_lines(plan)]


def _work_lines(one: PlannedWork) -> list[ScreenLine]:
    if not one.reasons or one.work.startswith("nothing"):
        return [ScreenLine(f"  {one.step:<9}  {one.work}", "green")]
    lines = [ScreenLine(f"  {one.step:<9}  run: {one.work}{_why(one)}", "yellow")]
    if one.seconds is not None:
        source = f", by {one.source}" if one.source else ""
        lines.append(ScreenLine(f"{'':<13}{describe_span(one.seconds)}{source}", "dim"))
    return lines


def _why(one: PlannedWork) -> str:
    told = [why for why in one.reasons if not why.endswith(_OBVIOUS)]
    if not told:
        return ""
    more = f" and {len(told) - 1} more reasons" if len(told) > 1 else ""
    return f" (since {told[0]}{more})"


def _total_time(plan: CheckPlan) -> str:
    unknown = [
        one.step
        for one in plan.steps
        if one.reasons and one.seconds is None and not one.work.startswith("nothing")
    ]
    told = describe_span(plan.seconds) if plan.seconds else "not known yet"
    return f"{told}, without {', '.join(unknown)}" if unknown and plan.seconds else told


def describe_span(span: Span) -> str:
    """`about 3m20s to 1h02m`."""
    low, high = _describe_seconds(span.low), _describe_seconds(span.high)
    return f"about {high}" if low == high else f"about {low} to {high}"


def _describe_seconds(seconds: float) -> str:
    if seconds >= 2 * _SECONDS_A_DAY:
        return f"{seconds / _SECONDS_A_DAY:.1f} days"
    return duration(max(1.0, seconds))


def _describe_need(need: DiskNeed) -> str:
    from handful.pipeline.check.estimate import describe_bytes

    low, high = describe_bytes(need.needs.low), describe_bytes(need.needs.high)
    parts = ", ".join(f"{what} {describe_bytes(one.high)}" for what, one in need.parts.items())
    told = f"disk, {need.place}: about {high if low == high else f'{low} to {high}'}"
    told += f" ({parts})" if parts else ""
    return told if need.free is None else f"{told}; {describe_bytes(need.free)} are free"


def _problem_lines(plan: CheckPlan) -> list[ScreenLine]:
    if not plan.problems:
        return [ScreenLine("problems: none seen", "green")]
    lines = [ScreenLine("problems, the soonest first", "bold")]
    for number, one in enumerate(plan.problems, 1):
        when = f"stops {one.step}" if one.stops else f"in {one.step}"
        first, *others = one.what.split("\n")
        style = "bold red" if one.stops else "yellow"
        lines.append(ScreenLine(f"  {number}. {when}: {first}", style))
        lines += [ScreenLine(f"     {other.strip()}") for other in others]
        lines += [ScreenLine(f"     {line}") for line in one.remedy.split("\n") if line]
    return lines
