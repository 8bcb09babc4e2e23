"""Tells an S3 server's answers apart, whichever client brought them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from handful.errors import Absent, Archived, Denied, Full, StoreError, Unreachable, UserError
from handful.storage.retry import BrokenOff, Throttled

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>|\(code: (\w{1,80})\)")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_TITLE = re.compile(r"<title>\s*([^<]{1,100}?)\s*</title>", re.IGNORECASE)
"""Of a page that a proxy answers with."""
_MARKUP = re.compile(r"<(?:\?xml|!doctype|html|[A-Za-z][A-Za-z0-9:]*[\s/>]).*", re.DOTALL | re.I)
_NOISE = re.compile(r"^Generic S3 error: Error performing (\S+) \S+ in [^-]*-\s*")
_LONGEST_WORDS = 300
_INTERRUPTED = re.compile(r"kind: Interrupted")
_REPEATED = re.compile(r"\bretries: [1-9]")
_CAUSE = re.compile(r'message: "([^"]{1,120})"|"(dns error)"|kind: (TimedOut|Timeout)')
_CERTIFICATE = re.compile(
    r"InvalidCertificate\(\s*(\w+)|CERTIFICATE_VERIFY_FAILED\] certificate verify failed: ([^(]+)"
    r"|(hostname \S+ doesn't match .+)"
)
"""What is wrong with a certificate, in the words of rustls, OpenSSL or urllib3."""
_MISSING_BUCKET = {"NoSuchBucket"}
_S3_DENIED_CODES = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_CUSTOMER_KEY = re.compile(
    r"customer.provided key|correct parameters must be provided|SSE-?C\b", re.IGNORECASE
)
_ARCHIVED = {"InvalidObjectState", "ObjectNotInActiveTierError"}
_S3_UNKNOWN_CODES = {"NotImplemented", "MethodNotAllowed"}
_UNKNOWN_STATUS = {405, 501}
_S3_FULL_CODES = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_TOO_LARGE = ("larger than the maximum allowable size", "EntityTooLarge")
_S3_ACCESS_REMEDIES = {
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "InvalidAccessKeyId": "the server does not know this access key; another profile or endpoint?",
    "ExpiredToken": "the login has expired: log in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}
_UNARCHIVE = "restore it (aws s3api restore-object), wait until it is back, then --refresh"
_S3_DEFAULT_ACCESS_REMEDY = "check AWS_PROFILE or the AWS_ variables, and the bucket's policy"


@dataclass(frozen=True)
class Answer:
    """What is known of a failed request: HTTP status (None: no answer), S3's code, and words."""

    status: int | None
    code: str
    words: str
    bad_key: bool = False
    interrupted: bool = False
    """The connection ended in the middle, and the client did not ask again (obstore repeats
    neither conditional puts nor deletions nor pages of a listing)."""
    untrusted: bool = False
    """The server showed a certificate that is not trusted."""


@contextmanager
def asking(where: str, bucket: str) -> Iterator[None]:
    """Turn what obstore or boto3 raise in the body into the store's own errors."""
    try:
        yield
    except (StoreError, UserError):
        raise
    except Exception as error:
        answer = answer_of(error)
        if answer is None:
            raise
        # The cause is left out: it repeats the request, and may show more than it should.
        raise translate_s3_answer(answer, where, bucket) from None


def translate_s3_answer(answer: Answer, where: str, bucket: str) -> StoreError:
    """The store's error for `answer`."""
    status, code = answer.status, answer.code
    if answer.bad_key:
        return StoreError(f"S3 cannot have this key: {answer.words}", where=where)
    if code in _MISSING_BUCKET:
        return Absent(f"the bucket {bucket!r} is not there", where=where, remedy="check its name")
    if code in _ARCHIVED:
        return Archived(f"is archived ({answer.words})", where=where, remedy=_UNARCHIVE)
    if status in {401, 403} or code in _S3_DENIED_CODES:
        remedy = _S3_ACCESS_REMEDIES.get(code, _S3_DEFAULT_ACCESS_REMEDY)
        return Denied(f"access is denied ({answer.words})", where=where, remedy=remedy)
    if status == 404:
        return Absent("is not there", where=where)
    if code in _S3_FULL_CODES or status == 507:
        return Full(answer.words, where=where, remedy="free some room in the bucket")
    if status in {301, 307} or "region" in answer.words.lower():
        return StoreError(
            f"the bucket {bucket!r} lies in another region ({answer.words})",
            where=where,
            remedy="set AWS_REGION, or the region of AWS_PROFILE",
        )
    if answer.untrusted:
        return _s3_certificate_error(answer, where)
    if _CUSTOMER_KEY.search(answer.words):
        return StoreError(
            f"is encrypted with a customer's own key (SSE-C; {answer.words})",
            where=where,
            remedy="handful has no such keys: let its owner store it with SSE-S3 or SSE-KMS",
        )
    if lacks_operation(answer):
        return StoreError(
            f"this server does not know what it was asked for ({answer.words})",
            where=where,
            remedy="docs/s3.md names the operations that are needed; use another server",
        )
    if answer.interrupted:
        return BrokenOff(f"the connection broke off ({answer.words})", where=where)
    if status is None or status >= 500 or status == 429:
        kind = Throttled if status in {429, 503} or code in _THROTTLED else Unreachable
        return kind(
            f"no good answer, although it was asked again and again ({answer.words})",
            where=where,
            remedy="is S3_ENDPOINT_URL right, and the server up?",
        )
    return StoreError(f"refused: {answer.words}", where=where)


def _s3_certificate_error(answer: Answer, where: str) -> Unreachable:
    words = answer.words.lower()
    if "name" in words:
        remedy = "S3_ENDPOINT_URL must hold a name that the certificate is made for"
    elif "expired" in words or "notvalidyet" in words:
        remedy = "it has to be renewed on the server; or this machine's clock is wrong"
    else:
        remedy = "let CA_BUNDLE name a PEM file with the authority that signed it"
    told = f"the server's certificate is not trusted ({answer.words})"
    return Unreachable(told, where=where, remedy=remedy)


def answer_of(error: Exception) -> Answer | None:
    """What `error` of obstore or boto3 says; None if it is not theirs."""
    module = type(error).__module__.split(".")[0]
    if module in {"botocore", "boto3", "s3transfer"}:
        return _boto_answer(error)
    if module == "obstore" or isinstance(error, FileNotFoundError):
        return _obstore_answer(error)
    if isinstance(error, ValueError) and "parse" in str(error):
        return Answer(None, "", str(error).splitlines()[0], bad_key=True)
    return None


def lacks_operation(answer: Answer) -> bool:
    """Whether the server has not built what it was asked for: no outage, asking again is no use."""
    return answer.status in _UNKNOWN_STATUS or answer.code in _S3_UNKNOWN_CODES


def is_too_large(error: Exception) -> bool:
    """Whether a copy was refused since the object is larger than one request may copy."""
    return any(words in str(error) for words in _TOO_LARGE)


def _obstore_answer(error: Exception) -> Answer:
    text = str(error)
    kind = type(error).__name__
    if kind == "InvalidPathError":
        return Answer(None, "", text.splitlines()[0], bad_key=True)
    certificate = _find_in_s3_answer(_CERTIFICATE, text)
    if certificate:
        return Answer(None, "", certificate, untrusted=True)
    status = _find_in_s3_answer(_STATUS, text)
    known = {"PermissionDeniedError": 403, "UnauthenticatedError": 401, "FileNotFoundError": 404}
    number = int(status) if status else known.get(kind)
    code = _find_in_s3_answer(_CODE, text)
    if number is None and code:
        number = 400  # a bulk delete answers 200 with errors inside
    words = (
        _find_in_s3_answer(_MESSAGE, text)
        or _find_in_s3_answer(_CAUSE, text)
        or _strip_s3_markup(text)
    )
    interrupted = number is None and bool(_INTERRUPTED.search(text)) and not _REPEATED.search(text)
    said = (
        _format_s3_fault(code, _find_in_s3_answer(_MESSAGE, text))
        if code
        else _with_status(words, number, text)
    )
    return Answer(number, code, said, interrupted=interrupted)


def _boto_answer(error: Exception) -> Answer:
    from botocore.exceptions import ClientError, NoCredentialsError

    if isinstance(error, ClientError):
        fault = error.response.get("Error", {})
        code = fault.get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status is None or status == 200:
            status = int(code) if code.isdigit() else 500
        return Answer(status, code, _format_s3_fault(code, fault.get("Message") or ""))
    if isinstance(error, NoCredentialsError):
        return Answer(403, "AccessDenied", "no AWS credentials were found")
    certificate = _find_in_s3_answer(_CERTIFICATE, str(error))
    if certificate:
        return Answer(None, "", certificate.strip(), untrusted=True)
    if type(error).__name__ in {"ParamValidationError"}:
        return Answer(None, "", str(error).splitlines()[0], bad_key=True)
    return Answer(None, "", _strip_s3_markup(str(error)))


def _format_s3_fault(code: str, message: str) -> str:
    """S3's code and what the server says of it: often nothing, and sometimes the code again."""
    words = _strip_s3_markup(message) if message else ""
    return f"{code}: {words}" if words and words != code else code


def _strip_s3_markup(text: str) -> str:
    """The first line of it, without what is markup: nobody wants to read XML in a reason."""
    title = _find_in_s3_answer(_TITLE, text)
    first = (_MARKUP.sub("", _NOISE.sub(r"\1: ", text)).strip().splitlines() or [""])[0]
    words = first.strip().rstrip(":- ")[:_LONGEST_WORDS]
    return f"{words} ({title})" if title else words


def _find_in_s3_answer(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return next(filter(None, match.groups()), "") if match else ""


def _with_status(words: str, number: int | None, text: str) -> str:
    title = _find_in_s3_answer(_TITLE, text)
    return f"HTTP status {number}{f', {title!r}' if title else ''}" if number else words
