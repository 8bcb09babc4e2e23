"""Before paying: is the account ready for the jobs of these settings?

Everything is looked at by reading or by simulation; nothing is made, changed or started. What may
not be looked at is said to be unknown, never fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from handful.errors import Denied, HandfulError, NotReady, Unreachable
from handful.progress import Progress
from handful.sagemaker.account.answers import NotOfAws
from handful.sagemaker.account.buckets import bucket_findings
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.account.findings import Finding, Verdict, fine, looked, trouble, unknown
from handful.sagemaker.account.identity import Identity, principal_of, role_findings, who_asks
from handful.sagemaker.account.network import network_findings
from handful.sagemaker.account.places import file_bucket_folders, production_folder, store_folder
from handful.sagemaker.account.quotas import quota_findings, quotas_of
from handful.sagemaker.account.registry import image_findings
from handful.sagemaker.account.rights import rights_of_driver, rights_of_jobs
from handful.sagemaker.account.simulation import simulate_principal_rights
from handful.sagemaker.jobs.costs.instances import jobs_of
from handful.settings import Settings

_READINESS_COLUMNS = ("what", "verdict", "found", "what to do")


def findings(settings: Settings, clients: Clients | None = None) -> tuple[Finding, ...]:
    """All that was looked at, in the order of a job's life. Raises nothing for what it finds."""
    clients = clients or Clients(settings)
    try:
        identity = who_asks(clients)
    except Denied as error:
        # Without credentials nothing else can be asked.
        return (trouble("identity", error.fault.what, error.fault.remedy),)
    except NotOfAws as error:
        return (unknown("identity", error.fault.what, error.fault.remedy),)
    except Unreachable as error:
        remedy = "jobs cannot be started from here without it; " + error.fault.remedy
        return (trouble("identity", error.fault.what, remedy),)
    except HandfulError as error:
        return (trouble("identity", error.fault.what, error.fault.remedy),)
    found = [fine("identity", identity.arn)]
    for what, look in _looks(settings, clients, identity):
        found += looked(what, look)
    return tuple(found)


def _looks(
    settings: Settings, clients: Clients, identity: Identity
) -> list[tuple[str, Callable[[], Iterable[Finding]]]]:
    section = settings.sagemaker
    role = section.ROLE_ARN
    found: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("role", lambda: role_findings(clients, identity, role)),
        ("your rights", lambda: _own_rights(settings, clients, identity)),
        (
            "the role's rights",
            lambda: (
                simulate_principal_rights(
                    clients, identity, "the role's rights", role, rights_of_jobs(settings)
                )
                if role
                else ()
            ),
        ),
        ("STORE", lambda: bucket_findings(clients, "STORE", store_folder(settings))),
    ]
    production = production_folder(settings)
    # Production on another server than AWS, or as another principal, is not for these clients.
    own = settings.production
    if production and not (own.S3_ENDPOINT_URL or own.AWS_PROFILE or own.ASSUME_ROLE_ARN):
        found.append(("FILES_URL", lambda: bucket_findings(clients, "FILES_URL", production)))
        found += [
            ("FILE_BUCKETS", partial(bucket_findings, clients, "FILE_BUCKETS", bucket))
            for bucket in file_bucket_folders(settings)
        ]
    found.append(("image", lambda: image_findings(clients, section.IMAGE_URI)))
    found.append(("quotas", lambda: _quotas(settings, clients)))
    if section.SUBNETS:
        instances = max(section.TRAIN_INSTANCE_COUNT, section.PREPARE_INSTANCE_COUNT)
        found.append(
            (
                "network",
                lambda: network_findings(
                    clients, section.SUBNETS, section.SECURITY_GROUPS, instances
                ),
            )
        )
    return found


def _own_rights(settings: Settings, clients: Clients, identity: Identity) -> Iterable[Finding]:
    what, role = "your rights", settings.sagemaker.ROLE_ARN
    if identity.is_root:
        return (fine(what, "the account itself may do everything"),)
    if not role:
        return ()
    principal = principal_of(clients, identity)
    return simulate_principal_rights(
        clients, identity, what, principal, rights_of_driver(settings, role)
    )


def _quotas(settings: Settings, clients: Clients) -> Iterable[Finding]:
    needs = tuple(dict.fromkeys(need for jobs in jobs_of(settings) for need in jobs.needs()))
    return quota_findings(quotas_of(clients), needs)


def show(found: Sequence[Finding], progress: Progress) -> None:
    """As a table; what could not be looked at is a warning besides."""
    rows = [(one.what, str(one.verdict), one.found, one.remedy) for one in found]
    progress.table("is the account ready?", _READINESS_COLUMNS, rows)
    for one in found:
        if one.verdict is Verdict.UNKNOWN:
            progress.warn(f"{one.what} is not known: {one.found}")


def refuse(found: Sequence[Finding]) -> None:
    """`NotReady` with everything for which a job would fail, together."""
    faults = [one.fault for one in found if one.verdict is Verdict.TROUBLE]
    if faults:
        raise NotReady(faults)
