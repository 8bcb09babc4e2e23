"""Whatever AWS's client library raises, `check` ends in words: a table of all its errors, and the
pages that proxies send, over real HTTP."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Formatter
from typing import Any

import botocore.exceptions
import pytest
from boto3 import exceptions as of_boto3
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from handful.errors import Denied, HandfulError, NotReady, StepError, Unreachable
from handful.sagemaker.account.answers import NotOfAws
from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, Verdict
from handful.sagemaker.jobs.control import Control, Status, make_client
from handful.sagemaker.jobs.costs import readiness
from handful.sagemaker.jobs.logs import Logs
from handful.settings import Settings
from tests.support.progress import Recording
from tests.support.sagemaker_works import settings as settings_of

PAGE = """<!DOCTYPE html>
<html><head><title>Gateway of ACME &mdash; log in</title><script>go()</script></head>
<body><h1>Sign in</h1><p>Your request to the outside was stopped.</p></body></html>"""
CONNECTION = "ConnectTimeoutError ConnectionClosedError EndpointConnectionError HTTPClientError"
CONNECTION += " ProxyConnectionError ReadTimeoutError SSLError ConnectionError IncompleteReadError"
LOGIN = "NoCredentialsError PartialCredentialsError CredentialRetrievalError TokenRetrievalError"
LOGIN += " MetadataRetrievalError SSOTokenLoadError UnauthorizedSSOTokenError LoginRefreshRequired"
LOGIN += " PendingAuthorizationExpiredError ProfileNotFound InfiniteLoopConfigError"


def classes() -> list[type[Exception]]:
    """Every class of errors that the library has."""
    found = [*vars(botocore.exceptions).values(), *vars(of_boto3).values(), ResponseParserError]
    errors = [one for one in found if inspect.isclass(one) and issubclass(one, Exception)]
    return sorted({one for one in errors if not issubclass(one, Warning)}, key=lambda c: c.__name__)


def made(kind: type[Exception]) -> Exception:
    """An error of the class, whose words hold a page wherever they may hold any."""
    if issubclass(kind, ClientError):
        return kind({"Error": {"Code": "403", "Message": PAGE}}, "DescribeImages")  # type: ignore[call-arg, arg-type]
    words = getattr(kind, "fmt", "")
    names = [name for _, name, *_ in Formatter().parse(words) if name]
    try:
        return kind(**dict.fromkeys(names, PAGE))
    except TypeError:
        return kind(*[PAGE] * (len(inspect.signature(kind.__init__).parameters) - 1))


ANSWERS: list[Exception] = [
    *(made(kind) for kind in classes()),
    KeyError("Account"),
    IndexError("list index out of range"),
    TypeError("'NoneType' object is not subscriptable"),
    ValueError("Invalid endpoint: nowhere"),
    ClientError({"Error": {}}, "GetRole"),
    ClientError({}, "GetRole"),
]


def name_of(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", ANSWERS, ids=name_of)
def test_every_error_is_one_of_ours_without_markup(error: Exception) -> None:
    with pytest.raises(HandfulError) as caught, told("GetRole x"):
        raise error
    assert "<" not in str(caught.value)
    assert len(str(caught.value)) < 800
    if name_of(error) in CONNECTION.split():
        assert isinstance(caught.value, Unreachable)
    if name_of(error) in LOGIN.split():
        assert isinstance(caught.value, Denied)
    if isinstance(error, ResponseParserError | LookupError | TypeError):
        assert isinstance(caught.value, NotOfAws)


@pytest.mark.parametrize("error", ANSWERS, ids=name_of)
def test_a_job_that_is_followed_meets_them_in_words(error: Exception) -> None:
    class Raising:
        def __getattr__(self, _: str) -> Any:
            def call(**__: Any) -> Any:
                raise error

            return call

        def get_paginator(self, _: str) -> Any:
            return self

    with pytest.raises(HandfulError) as caught:
        Control(Raising()).status("training", "x")
    assert "<" not in str(caught.value)
    progress = Recording()
    if isinstance(error, botocore.exceptions.BotoCoreError | ResponseParserError | LookupError):
        Logs(Raising(), "training", "x", progress).tell()
        assert len(progress.warnings) == 1
        assert "<" not in progress.warnings[0]


class Failing(Clients):
    """Clients of which one service raises, in every call; the others have answers of no use."""

    def __init__(self, settings: Settings, service: str, error: Exception) -> None:
        super().__init__(settings)
        self._service, self._error = service, error

    def of(self, service: str, region: str | None = None) -> Any:
        return _Service(self._error if service == self._service else None)


class _Service:
    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        if name == "get_paginator":
            return lambda _: self
        return self._call

    def _call(self, **_: Any) -> Any:
        if self._error:
            raise self._error
        return {"Arn": "arn:aws:iam::123456789012:user/me", "Account": "123456789012"}


@pytest.mark.parametrize("service", ["sts", "iam", "s3", "ecr", "service-quotas", "ec2"])
def test_check_goes_on_whatever_one_service_raises(service: str, tmp_path: Path) -> None:
    network = {"SUBNETS": ("subnet-1",), "SECURITY_GROUPS": ("sg-1",)}
    settings = settings_of(tmp_path / "EXP-1", **network)
    for error in ANSWERS:
        found = readiness.findings(settings, Failing(settings, service, error))
        assert found
        shown(found)
        with_page = isinstance(error, ResponseParserError)
        if with_page and service == "sts":
            assert [(one.what, one.verdict) for one in found] == [("identity", Verdict.UNKNOWN)]
        elif with_page:
            assert {one.verdict for one in found} == {Verdict.FINE, Verdict.UNKNOWN}, found


def shown(found: tuple[Finding, ...]) -> None:
    """As a person sees them; markup is nowhere."""
    progress = Recording()
    readiness.show(found, progress)
    try:
        readiness.refuse(found)
    except NotReady as error:
        progress.note(str(error))
    everything = [str(one) for one in (*found, *progress.warnings, *progress.notes)]
    assert not [one for one in everything if "<h" in one or "<!" in one or "<s" in one]


@contextmanager
def portal(status: int, body: str, kind: str = "text/html") -> Iterator[str]:
    """A server that answers everything so."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_HEAD = answer

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr("handful.sagemaker.account.clients.ATTEMPTS", 1)
    monkeypatch.setattr("handful.sagemaker.jobs.control.ATTEMPTS", 1)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, PAGE),
        (403, PAGE),
        *(
            pytest.param(status, body, marks=pytest.mark.slow)
            for status, body in ((404, PAGE), (407, PAGE), (502, PAGE), (200, "{}"), (200, ""))
        ),
    ],
)
def test_a_page_in_aws_place_is_unknown_and_never_shown(
    status: int, body: str, tmp_path: Path
) -> None:
    with portal(status, body) as url:
        settings = settings_of(tmp_path / "EXP-1", ENDPOINT_URL=url)
        (found,) = readiness.findings(settings)
        assert found.verdict in {Verdict.UNKNOWN, Verdict.TROUBLE}
        if status == 200:
            assert found.verdict is Verdict.UNKNOWN
        shown((found,))
        clients = Clients(settings)
        for service, call, words in CALLS if status == 404 else CALLS[:2]:
            with pytest.raises(HandfulError) as caught:
                asked_in_vain(clients, service, call, words)
            assert "<" not in str(caught.value), caught.value
        control = Control(make_client(settings))
        with pytest.raises(StepError) as caught_too:
            status_of(control)
        assert "<" not in str(caught_too.value)


def asked_in_vain(clients: Clients, service: str, call: str, words: dict[str, Any]) -> None:
    with told(call):
        answer = getattr(clients.of(service), call)(**words)
        raise KeyError(f"nothing of use: {answer}")


def status_of(control: Control) -> Status:
    found = control.status("training", "x")
    if found is None:  # what is answered by 404 may be taken for a job that is gone
        raise StepError("gone")
    return found


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("sts", "get_caller_identity", {}),
    ("ecr", "describe_images", {"repositoryName": "x"}),
    ("iam", "get_role", {"RoleName": "x"}),
    ("ec2", "describe_subnets", {}),
    ("service-quotas", "list_service_quotas", {"ServiceCode": "sagemaker"}),
    ("pricing", "get_products", {"ServiceCode": "AmazonSageMaker"}),
    ("cloudformation", "describe_stacks", {"StackName": "x"}),
    ("logs", "describe_log_streams", {"logGroupName": "x"}),
]
