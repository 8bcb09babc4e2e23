"""What the jobs whose results stand in a store have cost: about, from how long they took."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from handful.progress import Silent
from handful.records import Record, Trained
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.jobs.costs.durations import Duration
from handful.sagemaker.jobs.costs.forecast import Forecast, Price, forecast, prices_of
from handful.sagemaker.jobs.costs.instances import Jobs, jobs_of
from handful.settings import Settings


@dataclass(frozen=True)
class _Took:
    """How long the jobs of each step took, by their records."""

    records: Mapping[str, Record]

    def seconds_of(self, jobs: Jobs) -> Duration | None:
        """Of one of `jobs`, in seconds, without its start."""
        record = self.records.get(jobs.step)
        if record is None:
            return None
        if isinstance(record, Trained):
            own = [run.seconds for run in record.runs if run.model == jobs.what]
            return Duration(sum(own) / len(own), "its record") if own else None
        return Duration(record.seconds / jobs.number, "its record")


def spent_on(
    settings: Settings, records: Mapping[str, Record], managed: Collection[str]
) -> Forecast:
    """By the records of the `managed` steps: what the jobs that made them have cost, about.

    Trials and jobs that failed, were stopped or whose results were replaced are not in it. Asks
    AWS's price list, where there is no PRICE_PER_HOUR.
    """
    done = [step for step in records if step in managed and step != "tune"]
    jobs = jobs_of(settings, done)
    own = settings.sagemaker.PRICE_PER_HOUR
    prices = (
        {(kind, one.usage): Price(own, "PRICE_PER_HOUR") for one in jobs for kind in one.types}
        if own
        else prices_of(settings, jobs, Clients(settings), Silent())
    )
    return forecast(jobs, _Took(records).seconds_of, prices)
