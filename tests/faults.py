"""A proxy in front of the real S3 server that makes chosen requests fail."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Plan = Callable[[str, str, int], str]
"""(method, path, number of the request) → "pass", "503", "reset", "cut", or a body to answer."""

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"


@dataclass
class Proxy:
    """Where it listens, what it is to do, and what it did: fault → how often."""

    endpoint_url: str
    plan: Plan
    done: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _number: int = 0

    def decide(self, method: str, path: str) -> str:
        with self._lock:
            self._number += 1
            what = self.plan(method, path, self._number)
            name = what if len(what) <= 5 else "answer"
            self.done[name] = self.done.get(name, 0) + 1
            return what


@contextmanager
def proxy(endpoint_url: str, plan: Plan) -> Iterator[Proxy]:
    """A proxy before the server at `endpoint_url`; signatures stay valid, as the host is kept."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    mine = Proxy(f"http://127.0.0.1:{server.server_port}", plan)
    server.proxy = mine  # type: ignore[attr-defined]
    server.backend = urlsplit(endpoint_url).netloc  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield mine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
        what = self.server.proxy.decide(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if what == "reset":
            # Closing with unsent data pending and no linger sends a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif what == "503":
            self._answer(503, [], SLOW_DOWN)
        elif what in {"pass", "cut"}:
            status, headers, answer = self._forward(body)
            self._answer(status, headers, answer, cut=what == "cut")
        else:
            self._answer(200, [("Content-Type", "application/xml")], what.encode())

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
