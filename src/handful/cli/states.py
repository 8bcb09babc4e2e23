"""`handful status`, and the table of a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from handful.cli.command import on_experiment
from handful.cli.options import Verify
from handful.errors import UserError

if TYPE_CHECKING:
    from handful.errors import Damaged
    from handful.experiment.context import Experiment
    from handful.pipeline.step import Choice

WATCH_EVERY = 5.0
"""Seconds."""


@on_experiment
def status(
    experiment: Experiment,
    seconds: Annotated[
        float | None,
        typer.Argument(metavar="[SECONDS]", min=0.1, help="With --watch: between two looks."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until the run is done.")
    ] = False,
    verify: Verify = False,
) -> None:
    """Show how far the experiment is, and what a run would do."""
    from handful.cli.screens.watch import show_overview, watch_overview

    if watch:
        watch_overview(experiment, seconds or WATCH_EVERY, verify=verify)
    elif seconds is not None:
        raise UserError(
            f"what is {seconds:g} to be?",
            where="handful status",
            remedy="say --watch, too, to look again every so many seconds",
        )
    else:
        show_overview(experiment, verify=verify)


def show_states(experiment: Experiment, choice: Choice) -> None:
    """Each step: when it was done, every reason to do it again, and who is at work on it.

    The further lines of a step have no name. `Damaged` behind it, if a file is.
    """
    from handful.cli.console import tell_result
    from handful.experiment.forgotten import refuse_half_forgotten
    from handful.experiment.store_format import is_marked
    from handful.pipeline.step_status import in_progress, states
    from handful.pipeline.steps import STEPS
    from handful.records.moments import age

    refuse_half_forgotten(experiment.store, experiment.directory)
    is_marked(experiment.store)  # what another program's store holds is not "up to date"
    rows, busy, url = [], in_progress(experiment, STEPS), experiment.store.url
    found = states(experiment, STEPS, verify=choice.verify)
    for state in found:
        done = age(state.record.finished_at) if state.record else "never"
        asked = ("asked to do it again",) if state.step in choice.again else ()
        damage = [f"{_key_of_fault(one, url)} {one.fault.what}" for one in state.damage]
        reasons = [*damage, *(f"to do: {one}" for one in (*asked, *state.reasons))]
        reasons = reasons or ["up to date"]
        first, *others = [*reasons, *busy.get(state.step, [])]
        rows.append((state.step, done, first))
        rows += [("", "", other) for other in others]
    experiment.progress.table(url, ("step", "last done", "state"), rows)
    told = "\n".join(f"{step}: {state}" for step, _, state in rows if step)
    tell_result(experiment.progress, told, again=True)
    for state in found:
        if state.step not in choice.again:
            state.check()


def _key_of_fault(damage: Damaged, url: str) -> str:
    return damage.fault.where.removeprefix(f"{url}/")
