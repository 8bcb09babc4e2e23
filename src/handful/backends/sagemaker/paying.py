"""Before paying, all together: the account's readiness, the forecast, and the refusal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from handful.aws.clients import Clients
from handful.backends.sagemaker import costs, readiness
from handful.backends.sagemaker.costs import Forecast
from handful.backends.sagemaker.durations import Pace, duration_of, paces_of, sizes_of
from handful.backends.sagemaker.instances import STEPS, jobs_of
from handful.experiment import Experiment


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
    paces, sizes = paces_of(experiment, tried or {}), sizes_of(experiment)
    prices = costs.prices_of(settings, jobs, clients or Clients(settings), experiment.progress)
    return costs.forecast(jobs, lambda one: duration_of(one, experiment, paces, sizes), prices)


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
    costs.show(said, experiment.progress)
    readiness.refuse(found)
    costs.refuse_past(said, experiment.settings)
    return said
