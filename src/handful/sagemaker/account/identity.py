"""Who asks, and whether SageMaker may take the role of the jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from handful.errors import Absent
from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, fine, trouble

_ROLE = re.compile(
    r"arn:(?P<partition>[\w-]+):iam::(?P<account>\d{12}):role/(?P<path>[\w+=,.@/-]+)"
)
_ASSUMED = re.compile(r"arn:([\w-]+):sts::(\d{12}):assumed-role/([\w+=,.@-]+)/.+")
_SERVICE = "sagemaker.amazonaws.com"
_ROLE_FIRST = "`handful aws bootstrap EXP` makes one and tells its ARN"


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    arn: str
    account: str

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn`, …"""
        return self.arn.split(":")[1]

    @property
    def is_root(self) -> bool:
        """The account itself, which may do everything and cannot be simulated."""
        return self.arn.endswith(":root")

    @property
    def assumed_role(self) -> str | None:
        """The name of the role that was assumed; None for a user."""
        match = _ASSUMED.fullmatch(self.arn)
        return match[3] if match else None


def who_asks(clients: Clients) -> Identity:
    """`Denied` without valid credentials."""
    with told("GetCallerIdentity"):
        answer = clients.of("sts").get_caller_identity()
        return Identity(answer["Arn"], answer["Account"])


def principal_of(clients: Clients, identity: Identity) -> str:
    """The ARN whose policies decide what the identity may do. `Denied` if that cannot be seen."""
    role = identity.assumed_role
    if role is None:
        return identity.arn
    # A role's path is in its ARN, and not in that of its session.
    with told(f"GetRole {role}"):
        return str(clients.of("iam").get_role(RoleName=role)["Role"]["Arn"])


def role_findings(clients: Clients, identity: Identity, role_arn: str | None) -> Iterator[Finding]:
    """Is there such a role in this account, and may SageMaker take it?"""
    what = "role"
    if not role_arn:
        yield trouble(what, "[sagemaker] ROLE_ARN is not set", _ROLE_FIRST)
        return
    match = _ROLE.fullmatch(role_arn)
    if match is None:
        yield trouble(what, f"{role_arn!r} is no role's ARN", "write arn:aws:iam::<account>:role/…")
        return
    if match["account"] != identity.account:
        found = f"it is one of account {match['account']}, and you are in {identity.account}"
        yield trouble(what, found, "SageMaker wants a role of its own account")
        return
    name = match["path"].rpartition("/")[2]
    try:
        with told(f"GetRole {name}"):
            role = clients.of("iam").get_role(RoleName=name)["Role"]
    except Absent:
        yield trouble(what, f"there is no role {name}", _ROLE_FIRST)
        return
    if role["Arn"] != role_arn:
        yield trouble(what, f"its ARN is {role['Arn']}", "write that as [sagemaker] ROLE_ARN")
    elif not trusts(role["AssumeRolePolicyDocument"], _SERVICE):
        remedy = f"let its trust policy allow sts:AssumeRole to {_SERVICE}"
        yield trouble("role's trust", f"{_SERVICE} may not take {name}", remedy)
    else:
        yield fine(what, f"{name}; SageMaker may take it")


def trusts(document: Mapping[str, Any], service: str) -> bool:
    """Does the trust policy let the service take the role?

    Conditions are not weighed; a statement that denies wins.
    """
    allowed = False
    for one in _policy_value_list(document.get("Statement", [])):
        actions = [str(action).lower() for action in _policy_value_list(one.get("Action", []))]
        if not {"sts:assumerole", "sts:*", "*"} & set(actions):
            continue
        principal = one.get("Principal", {})
        named = principal if isinstance(principal, str) else principal.get("Service", [])
        if service not in _policy_value_list(named) and "*" not in _policy_value_list(named):
            continue
        if one.get("Effect") == "Deny":
            return False
        allowed = True
    return allowed


def _policy_value_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
