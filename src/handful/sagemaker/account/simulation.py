"""What a principal may do, by IAM's own simulation: nothing is tried out.

A simulation knows the policies of the principal and the organisation's; it does not know those of
buckets, keys and repositories, so what it allows may still be refused there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, fine, trouble
from handful.sagemaker.account.identity import Identity
from handful.sagemaker.account.rights import Right

_ASKED = {
    "iam:PassedToService": "sagemaker.amazonaws.com",
    "cloudwatch:namespace": "/aws/sagemaker/TrainingJobs",
}
"""What a job's call would carry, where a policy may ask for it."""


def simulate_principal_rights(
    clients: Clients,
    identity: Identity,
    what: str,
    principal: str,
    rights: Sequence[Right],
) -> Iterator[Finding]:
    """May `principal` do all of `rights`? A finding for each that it may not, or one for all.

    `Denied` if the identity may not simulate.
    """
    refused = 0
    for right in rights:
        if not right.allowed:
            continue
        resources = [_fill_arn_variables(arn, clients, identity) for arn in right.resources]
        denied = _list_denied_actions(clients, principal, right, resources)
        if denied:
            refused += 1
            yield trouble(
                f"{what}: {right.name}",
                f"may not {', '.join(denied)} on {', '.join(resources)}",
                "allow it; `handful aws bootstrap EXP --print` shows the statement",
            )
    if not refused:
        actions = sum(len(right.actions) for right in rights if right.allowed)
        yield fine(what, f"{actions} actions are allowed, by IAM's simulation")


def _list_denied_actions(
    clients: Clients, principal: str, right: Right, resources: Sequence[str]
) -> list[str]:
    with told("SimulatePrincipalPolicy"):
        pages = clients.of("iam").get_paginator("simulate_principal_policy")
        answers = [
            one
            for page in pages.paginate(
                PolicySourceArn=principal,
                ActionNames=list(right.actions),
                ResourceArns=list(resources),
                ContextEntries=_context(right),
            )
            for one in page["EvaluationResults"]
        ]
    found = {one["EvalActionName"] for one in answers if one["EvalDecision"] != "allowed"}
    return [action for action in right.actions if action in found]


def _context(right: Right) -> list[dict[str, Any]]:
    """The condition's own keys, with values as a job's call would carry them."""
    keys = {key: values for test in right.condition.values() for key, values in test.items()}
    found = []
    for key, wanted in keys.items():
        first = wanted if isinstance(wanted, str) else wanted[0]
        value = _ASKED.get(key, first)
        kind = "stringList" if key == "kms:ResourceAliases" else "string"
        found.append({"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": kind})
    return found


def _fill_arn_variables(arn: str, clients: Clients, identity: Identity) -> str:
    for name, value in (
        ("AWS::Partition", identity.partition),
        ("AWS::Region", clients.region),
        ("AWS::AccountId", identity.account),
    ):
        arn = arn.replace(f"${{{name}}}", value)
    return arn
