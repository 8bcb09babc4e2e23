"""What AWS's client library raises, as handful's own errors, for every service of AWS's.

Between here and AWS stand proxies, portals and gateways that answer with pages of their own. Such
an answer is nobody's word on the question: it is `NotOfAws`, whatever its status, and its markup is
never shown.
"""

from __future__ import annotations

import re
from typing import Any

from handful.errors import Absent, Denied, HandfulError, StepError, Unreachable

LOG_IN = "log in (`aws sso login`), or let [experiment] AWS_PROFILE name a profile"
_PROXY = "a proxy may stand in between: look at HTTPS_PROXY and NO_PROXY, then try again"
_REGION = "look at [sagemaker] REGION, ENDPOINT_URL and the AWS configuration"
_AWS_DENIED_CODES = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "401",
    "403",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AuthFailure",
}
_AWS_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_ABSENT = {"404", "NoSuchBucket", "NoSuchEntity", "RepositoryNotFoundException", "ImageNotFound"}
_ABSENT |= {"ImageNotFoundException", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound"}
_WITHOUT_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"}
_CREDENTIALS = {
    "ConfigNotFound",
    "ConfigParseError",
    "CredentialRetrievalError",
    "InvalidConfigError",
    "LoginError",
    "MetadataRetrievalError",
    "MissingDependencyException",
    "NoAuthTokenError",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "UnknownCredentialError",
    "UnknownTokenProviderError",
}
"""Classes of botocore's, and what is derived from them, that tell of a login."""
_CONNECTIONS = {"ConnectionError", "HTTPClientError", "IncompleteReadError", "ChecksumError"}
_CONNECTIONS |= {"FlexibleChecksumError", "CapacityNotAvailableError", "PaginationError"}
_CONNECTIONS |= {"WaiterError"}
_PAGE = re.compile(r"<\s*(?:!doctype\s+html|html|head|body|title)\b", re.IGNORECASE)
_HTML_TITLE_PATTERN = re.compile(r"<title[^>]*>\s*([^<>]{1,100}?)\s*</title>", re.IGNORECASE)
_MAX_AWS_MESSAGE_LENGTH = 500


class NotOfAws(Unreachable):
    """An answer came, but not from AWS: a page of a proxy's, or what nobody can read."""


def translate_aws_error(error: Exception, doing: str) -> HandfulError:
    """The error of handful's for what `doing` has raised."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return of_response(response, doing)
    names = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if names & _WITHOUT_CREDENTIALS:
        return Denied("there are no AWS credentials", where=doing, remedy=LOG_IN)
    if "ProfileNotFound" in names:
        remedy = "name a section of the AWS configuration"
        return Denied(shown(str(error)), where="[experiment] AWS_PROFILE", remedy=remedy)
    if names & _CREDENTIALS:
        # Its words may be those of a program that makes credentials.
        return Denied(f"the AWS credentials cannot be had: {name}", where=doing, remedy=LOG_IN)
    if "BotoCoreError" in names and names & _CONNECTIONS:
        remedy = "check the network and [sagemaker] REGION; then try again"
        return Unreachable(f"AWS did not answer: {name}", where=doing, remedy=remedy)
    if "ParamValidationError" in names:
        words = " ".join(str(error).split()).removeprefix("Parameter validation failed: ")
        return StepError(f"AWS would not take this: {shown(words)}", where=doing)
    if "BotoCoreError" in names or "Boto3Error" in names:
        return StepError(f"AWS cannot be asked: {shown(str(error))}", where=doing, remedy=_REGION)
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return StepError(shown(str(error)), where="[sagemaker] ENDPOINT_URL", remedy=_REGION)
    return NotOfAws(f"the answer is none of AWS's ({name})", where=doing, remedy=_PROXY)


def of_response(response: Any, doing: str) -> HandfulError:
    """The error for an answer that is one of AWS's, or a page in its place."""
    if is_page(response):
        return _page(response, doing)
    code, message = code_of(response), message_of(response)
    words = f"{code}: {message}"
    if code in _AWS_EXPIRED_CODES:
        return Denied("the AWS credentials have expired", where=doing, remedy=LOG_IN)
    if code in _AWS_DENIED_CODES:
        return Denied(words, where=doing, remedy="your identity may not do this")
    if code in _ABSENT or code.endswith(".NotFound"):
        return Absent(words, where=doing)
    if status_of(response) >= 500 or "Throttl" in code:
        return Unreachable(words, where=doing, remedy="try again in a while")
    return StepError(words, where=doing)


def is_page(response: Any) -> bool:
    """Is it a page for a browser? (The type that headers name tells nothing: some S3 servers say
    `text/html` of what has no body.)"""
    return bool(_PAGE.search(str(response.get("Error", {}).get("Message", ""))))


def _page(response: Any, doing: str) -> NotOfAws:
    raw = str(response.get("Error", {}).get("Message", ""))
    title = _HTML_TITLE_PATTERN.search(raw)
    told = f"HTTP status {status_of(response)}{f', {shown(title[1])!r}' if title else ''}"
    return NotOfAws(f"a web page came instead of AWS's answer ({told})", where=doing, remedy=_PROXY)


def code_of(response: Any) -> str:
    return shown(str(response.get("Error", {}).get("Code", "")))


def message_of(response: Any) -> str:
    """AWS's words; without markup."""
    return shown(str(response.get("Error", {}).get("Message", "")))


def status_of(response: Any) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def shown(text: str) -> str:
    """In one line, of bearable length; from a page's first tag on nothing."""
    page = _PAGE.search(text)
    clean = " ".join((text[: page.start()] if page else text).split())
    return (
        clean
        if len(clean) <= _MAX_AWS_MESSAGE_LENGTH
        else f"{clean[: _MAX_AWS_MESSAGE_LENGTH - 1]}…"
    )
