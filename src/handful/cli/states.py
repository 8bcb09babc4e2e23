"""How far an experiment is, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handful.cli.command import on_experiment
from handful.cli.options import Verify

if TYPE_CHECKING:
    from handful.errors import Damaged
    from handful.experiment.context import Experiment
    from handful.experiment.kept_models import ModelStore
    from handful.pipeline.step import Choice
    from handful.progress import Progress


@on_experiment
def status(experiment: Experiment, verify: Verify = False) -> None:
    """Show how far the experiment is, and what a run would do."""
    from handful.experiment.forgotten import since_then
    from handful.experiment.kept_models import ModelStore
    from handful.pipeline.step import Choice

    show_states(experiment, Choice(verify=verify))
    if words := since_then(experiment.store):
        experiment.progress.note(words)
    _show_replaced(
        ModelStore(experiment.store, experiment.layout),
        experiment.settings.train.METRIC,
        experiment.progress,
    )


def show_states(experiment: Experiment, choice: Choice) -> None:
    """Each step: when it was done, every reason to do it again, and who is at work on it.

    The further lines of a step have no name. `Damaged` behind it, if a file is.
    """
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
    for state in found:
        if state.step not in choice.again:
            state.check()


def _key_of_fault(damage: Damaged, url: str) -> str:
    return damage.fault.where.removeprefix(f"{url}/")


def _show_replaced(models: ModelStore, metric: str, progress: Progress) -> None:
    """The trained models that newer ones have replaced, behind those; nothing if there is none."""
    from handful.records.moments import age

    rows = [
        (
            one.fingerprint,
            one.model,
            str(one.seed),
            one.state,
            age(one.finished_at) if one.finished_at else "",
            one.record["metrics"].get(metric),
        )
        for one in models.list_replaced()
    ]
    if rows:
        title = "trained models; `handful predict EXP PATH --run RUN` uses one that is kept"
        columns = ("run", "model", "seed", "state", "trained", metric)
        progress.table(title, columns, rows)
