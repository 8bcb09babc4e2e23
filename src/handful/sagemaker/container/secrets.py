"""Secrets: fetched by the container's own role when it starts, from the entries that it is told."""

from __future__ import annotations

import os
from collections.abc import Mapping

from handful.errors import UserError

PREFIX = "HANDFUL_SECRET_"


def find_secret_arns(environment: Mapping[str, str]) -> dict[str, str]:
    """Name → the Secrets Manager entry that holds it."""
    return {
        name.removeprefix(PREFIX): arn
        for name, arn in environment.items()
        if name.startswith(PREFIX)
    }


def fetch() -> None:
    """Put the secrets into this process's environment. `UserError` names what cannot be had."""
    names = find_secret_arns(os.environ)
    if not names:
        return
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    client = boto3.client("secretsmanager")
    for name, arn in names.items():
        try:
            answer = client.get_secret_value(SecretId=arn)
            os.environ[name] = answer["SecretString"]
        except (BotoCoreError, ClientError, ResponseParserError, KeyError) as error:
            kind = type(error).__name__
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else kind
            raise UserError(
                f"the secret {name} cannot be fetched: {code}",
                where="[sagemaker] SECRETS",
                remedy="let the role read it (secretsmanager:GetSecretValue, and kms:Decrypt for a "
                "key of your own), and let a private subnet reach Secrets Manager",
            ) from None
