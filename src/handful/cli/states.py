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
    _show_replaced(experiment)


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


def _show_replaced(experiment: Experiment) -> None:
    """The trained models that newer ones have replaced, behind those; nothing if there is none."""
    from handful.kept_models import replaced_models
    from handful.standing import age

    metric = experiment.settings.train.METRIC
    rows = [
        (
            one.fingerprint,
            one.model,
            str(one.seed),
            one.state,
            age(one.finished_at) if one.finished_at else "",
            one.record["metrics"].get(metric),
        )
        for one in replaced_models(experiment)
    ]
    if rows:
        title = "trained models; `handful predict EXP PATH --run RUN` uses one that is kept"
        columns = ("run", "model", "seed", "state", "trained", metric)
        experiment.progress.table(title, columns, rows)
