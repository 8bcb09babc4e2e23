"""A proxy before the real S3 server that makes chosen requests fail, and counts all of them."""

from __future__ import annotations

import http.client
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
FORBIDDEN = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
NO_ROOM = b"<Error><Code>InsufficientStorage</Code><Message>No room.</Message></Error>"
FAULTS = {"pass", "503", "507", "403", "reset", "lost", "cut", "short", "flip"}
"""reset: it never reached the server; lost: the server did it, but the answer never came; cut: the
answer broke off in the middle; short: it ended early, and its length was made to fit; flip: one
byte in the middle of it is another."""


@dataclass
class Request:
    """One request, as it was made, and what became of it."""

    number: int
    method: str
    raw_path: str
    """As sent: encoded, with the query."""
    copy_source: str
    """`bucket/key` of the original, if it asks for a copy; else empty."""
    fault: str = "pass"
    """One of FAULTS, or "answer": another body with status 200."""
    status: int = 0
    """The server's; 0: it never got there."""

    @property
    def path(self) -> str:
        """`bucket/key`; `bucket/` or `bucket` for a request to the bucket itself."""
        return unquote(urlsplit(self.raw_path).path).lstrip("/")

    @property
    def bucket(self) -> str:
        return self.path.partition("/")[0]

    @property
    def is_copy(self) -> bool:
        """Does it ask the server to copy an object, and not just to try whether it can?"""
        return self.method == "PUT" and self.copy_source != "" and "/probe-" not in self.path

    @property
    def is_write(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    def names(self, path: str) -> bool:
        """Is it about this `bucket/key`, as its target or as the original of a copy?"""
        return path in (self.path, self.copy_source)


Rule = Callable[[Request], str]
"""A request → one of FAULTS, or a body to answer with status 200. One request at a time is asked
about, so that what a rule does happens before any later request."""
Plan = Callable[[str, str, int], str]
"""A `Rule` that gets just (method, path, number of the request)."""


def passes(_: Request) -> str:
    """The rule that disturbs nothing."""
    return "pass"


@dataclass
class Proxy:
    """Where it listens, what it is to do, and what it did."""

    endpoint_url: str
    rule: Rule
    done: Counter[str] = field(default_factory=Counter)
    """Fault → how often."""
    requests: list[Request] = field(default_factory=list)
    _change: threading.Condition = field(default_factory=threading.Condition)
    _under_way: int = 0

    def begin(self, request: Request) -> str:
        """Record the request; what is to be done with it."""
        with self._change:
            request.number = len(self.requests) + 1
            self.requests.append(request)
            self._under_way += 1
            what = self.rule(request)
            request.fault = what if what in FAULTS else "answer"
            self.done[request.fault] += 1
            self._change.notify_all()
            return what

    def end(self) -> None:
        with self._change:
            self._under_way -= 1
            self._change.notify_all()

    def wait_for(self, number: int, seconds: float) -> bool:
        """Wait until so many requests were made, at most so long; were they?"""
        with self._change:
            return self._change.wait_for(lambda: len(self.requests) >= number, seconds)

    def settle(self) -> None:
        """Wait until no request is under way, as after a client was killed."""
        with self._change:
            assert self._change.wait_for(lambda: not self._under_way, 60)

    def copies(self, *, since: int = 0) -> Counter[str]:
        """Destination `bucket/key` → how often the server copied something there."""
        return Counter(r.path for r in self.requests[since:] if r.is_copy and r.status == 200)


@contextmanager
def proxy(endpoint_url: str, plan: Plan) -> Iterator[Proxy]:
    """`faulty`, with a plan instead of a rule."""
    with faulty(endpoint_url, lambda r: plan(r.method, r.raw_path, r.number)) as mine:
        yield mine


@contextmanager
def faulty(endpoint_url: str, rule: Rule = passes, *, delay: float = 0.0) -> Iterator[Proxy]:
    """A proxy before the server at `endpoint_url`; signatures stay valid, as the host is kept.

    Each request is kept waiting for `delay` seconds first.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    mine = Proxy(f"http://127.0.0.1:{server.server_port}", rule)
    server.proxy, server.delay = mine, delay
    server.backend = urlsplit(endpoint_url).netloc
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield mine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    proxy: Proxy
    backend: str
    delay: float

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, as a killed one does, is no fault of the proxy's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_expect_100(self) -> bool:
        self.send_response_only(100)
        self.end_headers()
        return True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        source = unquote(self.headers.get("x-amz-copy-source", "")).lstrip("/")
        request = Request(0, self.command, self.path, source)
        what = self.server.proxy.begin(request)
        try:
            time.sleep(self.server.delay)
            self._do(what, request, body)
        finally:
            self.server.proxy.end()

    def _do(self, what: str, request: Request, body: bytes) -> None:
        if what == "503":
            self._answer(503, [], SLOW_DOWN)
        elif what == "507":
            self._answer(507, [], NO_ROOM)
        elif what == "403":
            self._answer(403, [], FORBIDDEN)
        elif what == "reset":
            self._reset()
        elif what in {"pass", "cut", "lost", "short", "flip"}:
            request.status, headers, answer = self._forward(body)
            if answer and what == "short":
                answer = answer[: len(answer) // 2]
            elif answer and what == "flip":
                at = len(answer) // 2
                answer = answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]
            if what == "lost":
                self._reset()
            else:
                self._answer(request.status, headers, answer, cut=what == "cut")
        else:
            self._answer(200, [("Content-Type", "application/xml")], what.encode())

    def _reset(self) -> None:
        # Closing with unsent data pending and no linger sends a reset, not an end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.backend, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True
