"""The words for what servers and proxies answer: never markup, never the wrong remedy."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from obstore.exceptions import GenericError

from handful.errors import Archived, StoreError, Unreachable
from handful.storage.open import open_store
from handful.storage.s3.errors import answer_of, translate_s3_answer
from tests.support.faults import proxy
from tests.support.servers import Login

XML = '<?xml version="1.0" encoding="UTF-8"?>'
SAID = "Generic S3 error: Error performing POST http://h:1/b?delete in 2.1s, after 2 retries - "
RGW = f"{XML}<Error><Code>{{}}</Code><Message></Message><RequestId>tx0</RequestId></Error>"
NGINX = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>"


def error_of(status: str, body: str) -> StoreError:
    text = f"{SAID}Server returned non-2xx status code: {status}: {body}\n\nDebug source:\nGeneric"
    answer = answer_of(GenericError(text))
    assert answer is not None
    return translate_s3_answer(answer, "s3://b/k", "b")


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        ("400 Bad Request", RGW.format("InvalidArgument"), StoreError, "refused: InvalidArgument"),
        ("500 Internal Server Error", RGW.format("UnknownError"), Unreachable, "UnknownError"),
        ("502 Bad Gateway", NGINX, Unreachable, "502 Bad Gateway"),
        ("501 Not Implemented", RGW.format("NotImplemented"), StoreError, "does not know"),
        ("405 Method Not Allowed", RGW.format("MethodNotAllowed"), StoreError, "does not know"),
        ("403 Forbidden", RGW.format("InvalidObjectState"), Archived, "restore it"),
    ],
)
def test_what_is_told(status: str, body: str, kind: type[StoreError], words: str) -> None:
    error = error_of(status, body)
    assert type(error) is kind
    assert words in str(error)
    assert "<" not in str(error)
    assert "Debug" not in str(error)


def test_boto_s_empty_message() -> None:
    fault = {"Error": {"Code": "InvalidArgument", "Message": None}}
    answer = answer_of(ClientError(fault | {"ResponseMetadata": {"HTTPStatusCode": 400}}, "Put"))  # type: ignore[arg-type]
    assert answer is not None
    assert answer.words == "InvalidArgument"


@pytest.mark.parametrize("body", [NGINX, "<html><title>Sign in</title></html>", "<Error", "no"])
def test_a_page_instead_of_a_listing_is_told_without_markup(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Login("me", "secret").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("handful.storage.retry.RETRIES", 1)
    with proxy("http://127.0.0.1:1", lambda *_: body) as odd:
        store = open_store("s3://bucket/prefix", endpoint_url=odd.endpoint_url)
        with pytest.raises(StoreError) as caught:
            list(store.list())
    assert "<" not in str(caught.value)
