"""Whose credentials: a profile of the AWS configuration, and a role that it assumes.

The credentials of an assumed role last an hour or so; they are renewed before they end, wherever
they are in use. Where the role is asked for is AWS's own matter: the regional STS endpoint, or
`AWS_ENDPOINT_URL_STS`, or `endpoint_url` of a `services` section of the AWS configuration.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.errors import Denied, Unreachable, UserError
from handful.files.paths import at_home, is_file
from handful.system.certificates import BadCertificates, read_certificates

if TYPE_CHECKING:
    import boto3
    import botocore.session
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
    ca_bundle: Path | None = None
    """The certificates to trust; None: as the AWS configuration or the clients say."""


@dataclass(frozen=True)
class Trusted:
    """A file of certificates, for every client in its own words."""

    path: str
    content: bytes


def core_of(access: Access) -> botocore.session.Session:
    """What the AWS configuration says, for `load_ca_bundle` and `session_of`; nobody is asked.

    `UserError` for a profile that is not there.
    """
    import botocore.session
    from botocore.exceptions import BotoCoreError

    core = botocore.session.Session(profile=access.profile)
    try:
        loader = _loader(core.get_config_variable("data_path"))
    except BotoCoreError as error:
        raise _no_profile(error) from None
    core.register_component("data_loader", loader)
    return core


@functools.cache
def _loader(data_path: str | None) -> Any:
    """One for all sessions: what botocore knows of S3 alone takes megabytes and 50 ms to read."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def load_ca_bundle(access: Access, core: botocore.session.Session) -> Trusted | None:
    """The certificates to trust; None: the public ones, as each client has them.

    CA_BUNDLE, else AWS_CA_BUNDLE, else the profile's `ca_bundle`, else REQUESTS_CA_BUNDLE, as
    boto3 looks for them. `UserError` for a file that is not there or holds none.
    """
    found, where = access.ca_bundle, "CA_BUNDLE"
    if found is None:
        found, where = _find_ca_bundle(core)
    if found is None:
        return None
    try:
        return Trusted(str(found), read_certificates(found))
    except BadCertificates as bad:
        raise UserError(bad.what, where=where, remedy=bad.remedy) from None


def _find_ca_bundle(core: botocore.session.Session) -> tuple[Path | None, str]:
    """What the environment and the AWS configuration say, and where."""
    configured = core.get_config_variable("ca_bundle")
    if configured:
        from_profile = not os.environ.get("AWS_CA_BUNDLE")
        where = "ca_bundle of the AWS configuration" if from_profile else "AWS_CA_BUNDLE"
        return at_home(configured, where), where
    named = os.environ.get("REQUESTS_CA_BUNDLE")
    return (Path(named) if named and is_file(named) else None), "REQUESTS_CA_BUNDLE"


def _no_profile(error: Exception) -> UserError:
    remedy = "name a section of the AWS configuration"
    return UserError(str(error), where="AWS_PROFILE", remedy=remedy)


def session_of(
    access: Access, core: botocore.session.Session, trusted: Trusted | None = None
) -> boto3.Session:
    """A session with the credentials of `access`; a role is assumed here, over the network.

    `core`: see `core_of`; `trusted`: see `load_ca_bundle`; for who lends the role.

    `Denied` if the role may not be assumed, `Unreachable` if nobody answers who could say so.
    """
    import boto3

    own = boto3.Session(botocore_session=core)
    return own if access.role_arn is None else _as_role(own, access, trusted)


def _as_role(own: boto3.Session, access: Access, trusted: Trusted | None) -> boto3.Session:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, SSLError
    from botocore.parsers import ResponseParserError

    region, role_arn = own.region_name or REGION, str(access.role_arn)
    # With the profile: its endpoint, and what else it says of services, hold for the role too.
    core = core_of(access)
    where = f"ASSUME_ROLE_ARN = {role_arn}"
    try:
        source = own.get_credentials()
        if source is None:
            raise Denied(
                "no AWS credentials were found that could assume the role",
                where=where,
                remedy="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        verify = trusted.path if trusted else None
        fetch = _fetcher(partial(own.client, region_name=region, verify=verify), source, role_arn)
        core.get_component("credential_provider").providers.insert(0, _provider(fetch))
        core.set_config_variable("region", region)
        session = boto3.Session(botocore_session=core)
        lent = session.get_credentials()
        if lent is not None:
            lent.get_frozen_credentials()  # the role is asked for here
    except EndpointConnectionError as error:
        raise Unreachable(f"nobody answers who could lend the role: {error}", where=where) from None
    except SSLError as error:
        raise Unreachable(
            f"the certificate of the server that lends the role is not trusted: {error}",
            where=where,
            remedy="let CA_BUNDLE name a PEM file with the authority that signed it",
        ) from None
    except ResponseParserError:
        raise Unreachable(
            "the role cannot be lent: the answer is none of AWS's",
            where=where,
            remedy="a proxy may stand in between: look at HTTPS_PROXY and NO_PROXY",
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise Denied(
            f"the role cannot be assumed: {error}",
            where=where,
            remedy="check the role's name, its trust policy, and AWS_PROFILE",
        ) from None
    return session


def _fetcher(client_creator: Any, source: Any, role_arn: str) -> Any:
    from botocore.credentials import AssumeRoleCredentialFetcher

    return AssumeRoleCredentialFetcher(
        client_creator=client_creator,
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
