"""Before paying, all together: the account's readiness, the forecast, and what a run may cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from handful.errors import UserError
from handful.experiment.context import Experiment
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.jobs.costs import forecast, readiness
from handful.sagemaker.jobs.costs.durations import Duration, Pace, duration_of, paces_of, sizes_of
from handful.sagemaker.jobs.costs.forecast import Forecast
from handful.sagemaker.jobs.costs.instances import STEPS, Jobs, jobs_of


def forecast_of(
    experiment: Experiment,
    steps: Collection[str] = STEPS,
    tried: Mapping[str, Pace] | None = None,
    clients: Clients | None = None,
) -> Forecast:
    """What the jobs of `steps` will take and cost; reads the store and AWS's price list.

    `tried`: the model's folder → the pace that was just measured, where the store holds none.
    `UserError` names the key of an instance type that is missing.
    """
    settings = experiment.settings
    jobs = jobs_of(settings, steps)
    store, here = experiment.store, experiment.layout
    paces, sizes = paces_of(settings, store, here, tried or {}), sizes_of(settings, store, here)
    prices = forecast.prices_of(settings, jobs, clients or Clients(settings), experiment.progress)

    def duration(one: Jobs) -> Duration | None:
        return duration_of(one, settings, store, here, paces, sizes)

    return forecast.forecast(jobs, duration, prices)


def check_before_paying(
    experiment: Experiment,
    steps: Collection[str] = STEPS,
    tried: Mapping[str, Pace] | None = None,
    clients: Clients | None = None,
) -> Forecast:
    """Look at everything, show it, and refuse what cannot work or costs too much.

    `NotReady` with all that the account lacks; `UserError` past MAX_COST_USD. Nothing is started.
    """
    clients = clients or Clients(experiment.settings)
    found = readiness.findings(experiment.settings, clients)
    readiness.show(found, experiment.progress)
    said = forecast_of(experiment, steps, tried, clients)
    forecast.show(said, experiment.progress)
    readiness.refuse(found)
    forecast.refuse_past(said, experiment.settings)
    return said


class Purse:
    """MAX_COST_USD of one run, step by step.

    What a step has spent is taken to be its whole time on all of its instances, which it cannot
    pass. So a step that was short leaves more to the next ones, and the run stays within the sum
    even if jobs end by their limits. Without MAX_COST_USD nothing is asked and nothing limited.
    """

    def __init__(
        self,
        experiment: Experiment,
        steps: Sequence[str],
        clients: Clients | None = None,
        managed: Sequence[str] = STEPS,
    ) -> None:
        """`steps`: those that the run will do, as far as is known; `managed`: those by jobs."""
        self._experiment = experiment
        self._managed = tuple(managed)
        self._steps = [step for step in self._managed if step in steps]
        self._clients = clients
        self._spent = 0.0
        self._ahead = Forecast(())
        self._shown = False

    def before(self, step: str) -> Mapping[tuple[str, str], float]:
        """(step, model's folder) → how long each job of it may take, in seconds; empty: no limit.

        `UserError` if what is left does not suffice for this step and those after it.
        """
        most = self._experiment.settings.sagemaker.MAX_COST_USD
        if most is None or step not in self._managed:
            return {}
        left = most - self._spent
        if left <= 0:
            raise UserError(
                f"the steps before {step} have used up ${most:,.2f}",
                where="[sagemaker] MAX_COST_USD",
                remedy="raise it and run again: what is done is not done again",
            )
        later = self._managed[self._managed.index(step) + 1 :]
        # A step may have to be done although nobody knew when the run began.
        ahead = [step, *(one for one in self._steps if one in later)]
        self._ahead = forecast_of(self._experiment, ahead, clients=self._clients)
        if not self._shown:
            forecast.show(self._ahead, self._experiment.progress)
            self._shown = True
        section = replace(self._experiment.settings.sagemaker, MAX_COST_USD=left)
        longest = forecast.longest_seconds(
            self._ahead, replace(self._experiment.settings, sagemaker=section)
        )
        return {place: seconds for place, seconds in longest.items() if place[0] == step}

    def after(self, step: str, seconds: float) -> None:
        """The step took so long, from its first job to the last one's end."""
        for line in self._ahead.lines:
            if line.jobs.step == step:
                all_jobs = line.cost(seconds) or 0.0
                # Those that waited for others were not paid for meanwhile.
                self._spent += all_jobs * line.jobs.at_once / line.jobs.number
