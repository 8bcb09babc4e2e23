"""SageMaker's quotas: how many instances of a type an account may run at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, fine, trouble, unknown

PROCESSING, TRAINING, SPOT, WARM = (
    "processing job usage",
    "training job usage",
    "spot training job usage",
    "training warm pool usage",
)
"""As the quotas' names end: "ml.m5.xlarge for training job usage"."""


@dataclass(frozen=True)
class Need:
    """Instances of a type that are wanted at once."""

    instance_type: str
    usage: str
    count: int
    """For one job, without which nothing goes."""
    at_once: int
    """For all jobs that would run side by side."""
    key: str
    """The setting that asks for them."""
    is_first: bool = True
    """False: the type is tried only when there is no room for those before it."""


def quotas_of(clients: Clients) -> Mapping[str, float]:
    """A quota's name → its value in this account and region."""
    with told("ListServiceQuotas"):
        pages = clients.of("service-quotas").get_paginator("list_service_quotas")
        return {
            one["QuotaName"]: float(one["Value"])
            for page in pages.paginate(ServiceCode="sagemaker")
            for one in page["Quotas"]
        }


def quota_findings(quotas: Mapping[str, float], needs: tuple[Need, ...]) -> Iterator[Finding]:
    """Does each quota allow what is wanted? What runs already is not counted in."""
    for need in needs:
        what = f"quota of {need.instance_type}"
        allowed = quotas.get(f"{need.instance_type} for {need.usage}")
        more = "ask for more in Service Quotas (SageMaker), or name another type"
        if allowed is None:
            found = f"AWS lists none for {need.usage}"
            yield unknown(what, found, f"is {need.key} a type of SageMaker's in this region?")
        elif allowed < need.count:
            found = f"{allowed:g} for {need.usage}, and a job wants {need.count} ({need.key})"
            yield trouble(what, found, more) if need.is_first else unknown(what, found, more)
        elif allowed < need.at_once:
            found = f"{allowed:g} for {need.usage}; side by side {need.at_once} are wanted"
            yield fine(what, f"{found}, so some jobs will wait for others")
        else:
            yield fine(what, f"{allowed:g} for {need.usage}, of which {need.at_once} are wanted")
