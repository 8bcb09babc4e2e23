"""Whose credentials: a profile of the AWS configuration, and a role that it assumes.

The credentials of an assumed role last an hour or so; they are renewed before they end, wherever
they are in use. Where the role is asked for is AWS's own matter: the regional STS endpoint, or
`AWS_ENDPOINT_URL_STS`, or `endpoint_url` of a `services` section of the AWS configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from handful.errors import Denied, Unreachable, UserError

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import CredentialProvider

REGION = "us-east-1"
"""The region where none is configured; servers other than AWS mostly do not care."""
SESSION_NAME = "handful"
"""As which session the role's use stands in CloudTrail."""


@dataclass(frozen=True)
class Access:
    """Which server, and whose credentials: equal ones may copy on the server's side."""

    endpoint_url: str | None = None
    """None: AWS, or what the AWS configuration says."""
    profile: str | None = None
    """The section of the AWS configuration; None: the usual chain."""
    role_arn: str | None = None
    """The role that these credentials assume; None: they are used themselves."""


def session_of(access: Access) -> boto3.Session:
    """A session with the credentials of `access`; a role is assumed here, over the network.

    `UserError` for a profile that is not there, `Denied` if the role may not be assumed,
    `Unreachable` if nobody answers who could say so.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        own = boto3.Session(profile_name=access.profile)
    except BotoCoreError as error:
        raise UserError(
            str(error), where="AWS_PROFILE", remedy="name a section of the AWS configuration"
        ) from None
    return own if access.role_arn is None else _as_role(own, access.role_arn)


def _as_role(own: boto3.Session, role_arn: str) -> boto3.Session:
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

    region = own.region_name or REGION
    core = botocore.session.Session()
    where = f"ASSUME_ROLE_ARN = {role_arn}"
    try:
        source = own.get_credentials()
        if source is None:
            raise Denied(
                "no AWS credentials were found that could assume the role",
                where=where,
                remedy="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        fetch = _fetcher(own, source, role_arn, region)
        core.get_component("credential_provider").insert_before("env", _provider(fetch))
        core.set_config_variable("region", region)
        session = boto3.Session(botocore_session=core)
        lent = session.get_credentials()
        if lent is not None:
            lent.get_frozen_credentials()  # the role is asked for here
    except EndpointConnectionError as error:
        raise Unreachable(f"nobody answers who could lend the role: {error}", where=where) from None
    except (BotoCoreError, ClientError) as error:
        raise Denied(
            f"the role cannot be assumed: {error}",
            where=where,
            remedy="check the role's name, its trust policy, and AWS_PROFILE",
        ) from None
    return session


def _fetcher(own: boto3.Session, source: Any, role_arn: str, region: str) -> Any:
    from botocore.credentials import AssumeRoleCredentialFetcher

    return AssumeRoleCredentialFetcher(
        client_creator=partial(own.client, region_name=region),
        source_credentials=source,
        role_arn=role_arn,
        extra_args={"RoleSessionName": SESSION_NAME},
    )


def _provider(fetcher: Any) -> CredentialProvider:
    """Puts the role's credentials, which renew themselves, before the usual chain."""
    from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials

    class Role(CredentialProvider):
        METHOD = "handful-assumed-role"
        CANONICAL_NAME = None

        def load(self) -> Any:
            return DeferredRefreshableCredentials(
                method="assume-role", refresh_using=fetcher.fetch_credentials
            )

    return Role(None)
