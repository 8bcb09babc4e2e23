"""How far an experiment is, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handful.cli.command import on_experiment

if TYPE_CHECKING:
    from handful.experiment import Experiment
    from handful.step import Choice


@on_experiment
def status(experiment: Experiment) -> None:
    """Show how far the experiment is, and what a run would do."""
    from handful.step import Choice

    show_states(experiment, Choice())


def show_states(experiment: Experiment, choice: Choice) -> None:
    """A row for each step: when it was done, and why it would be done again."""
    from handful.pipeline import STEPS
    from handful.standing import age, states

    rows = []
    for state in states(experiment, STEPS):
        done = age(state.record.finished_at) if state.record else "never"
        what = "up to date" if state.up_to_date else f"to do: {state.reason}"
        if state.step in choice.again:
            what = "to do: asked to do it again"
        rows.append((state.step, done, what))
    experiment.progress.table(str(experiment.store.url), ("step", "last done", "state"), rows)
