"""An S3 server that answers late and costs next to nothing, so that only the client is measured.

    python bench/latency_server.py --port 0 --latency-ms 30 --page-latency-ms 90 \
        --objects 3000 --files 1 --buckets production,store

Prints its port when it is ready; listens on 127.0.0.1 only, and keeps everything in memory. The
first bucket holds `--objects` small objects from the start, `--files` for each artifact, below
`production/`. Answers wait in the event loop's timers, not in threads: thousands may be under way
at once, each with its full latency, whatever the others do.

It knows what reconcile and its rivals ask (addresses by path): GET, HEAD, PUT and DELETE of an
object, PUT with `If-None-Match: *`, CopyObject, POST ?delete, HEAD of a bucket, ListObjectsV2 (with
a delimiter: the folders of one page). Anything else is answered by 501, never by a guess. It checks
no signature, keeps no metadata, and ignores ranges. `GET /__counts` tells how many requests it has
had of which kind, the pages of each prefix, and how many requests waited at once at most;
`GET /__timeline` when each request since the last time came. `--refused 0.05`: that share of the
requests about objects and listings is refused with 503 SlowDown.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import time
from collections import Counter

from reconcile_parts.answers import Bucket, Entry, Request, answer, framed, header_of
from reconcile_parts.generated import LAYOUTS, PREFIX, keys, size_of

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"


class Server:
    """The buckets, and what is answered."""

    def __init__(
        self, buckets: list[str], latency: float, page_latency: float, refused: float = 0.0
    ) -> None:
        """Latencies in seconds: of any request, and of a page of a listing."""
        self.refused = refused
        self._chance = random.Random(0)
        self.buckets = {name.encode(): Bucket() for name in buckets}
        self.latency = latency
        self.page_latency = page_latency
        self.counts: Counter[str] = Counter()
        self.pages: Counter[str] = Counter()
        self.waiting = 0
        self.most_at_once = 0
        self.timeline: list[tuple[float, str, str]] = []
        """When each request came (seconds since 1970), its kind, and what it names."""

    def answer(self, request: Request) -> tuple[float, bytes]:
        """How long to wait, in seconds, and the bytes to send then."""
        if request.bucket == b"__counts":
            return 0.0, framed(b"200 OK", self._told())
        if request.bucket == b"__timeline":
            told, self.timeline = self.timeline, []
            return 0.0, framed(b"200 OK", json.dumps(told).encode())
        if self.refused and self._chance.random() < self.refused:
            self.counts["refused"] += 1
            return self.latency, framed(b"503 Slow Down", _SLOW_DOWN)
        kind, bytes_ = answer(self.buckets, request)
        self.counts[kind] += 1
        self.timeline.append((time.time(), kind, _name_of(kind, request)))
        if kind == "list":
            self.pages[f"{request.bucket.decode()}/{request.query.get('prefix', '')}"] += 1
        return (self.page_latency if kind == "list" else self.latency), bytes_

    def _told(self) -> bytes:
        told = {"requests": self.counts, "pages": self.pages, "most_at_once": self.most_at_once}
        return json.dumps(told).encode()


def _name_of(kind: str, request: Request) -> str:
    bucket, query = request.bucket.decode(), request.query
    if kind == "list":
        return f"{bucket}/{query.get('prefix', '')} behind {query.get('start-after', '')!r}"
    return f"{bucket}/{request.key.decode(errors='replace')}"


class Connection(asyncio.Protocol):
    """One client's connection: a request, its answer when it is time, the next one."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._arrived = bytearray()
        self._expected = 0
        self._busy = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        request = self._whole()
        if request is None:
            return
        server = self._server
        wait, answer = server.answer(request)
        self._busy = True
        server.waiting += 1
        server.most_at_once = max(server.most_at_once, server.waiting)
        self._loop.call_later(wait, self._send, answer, b"connection: close" in request.lower)

    def _whole(self) -> Request | None:
        """The first request, once all of it has arrived."""
        if len(self._arrived) < self._expected:
            return None
        end = self._arrived.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._arrived[:end])
        lower = head.lower()
        size = end + 4 + int(header_of(head, lower, b"content-length") or 0)
        if len(self._arrived) < size:
            if not self._expected and b"expect: 100-continue" in lower:
                self._transport.write(_CONTINUE)
            self._expected = size
            return None
        body = bytes(self._arrived[end + 4 : size])
        del self._arrived[:size]
        self._expected = 0
        return Request(head, lower, body)

    def _send(self, answer: bytes, close: bool) -> None:
        self._busy = False
        self._server.waiting -= 1
        if self._transport.is_closing():
            return
        self._transport.write(answer)
        if close:
            self._transport.close()
        elif self._arrived:
            self._next()


async def serve(server: Server, port: int) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Connection(server, loop), "127.0.0.1", port, backlog=4096
    )
    gc.collect()
    gc.freeze()  # what was generated stays: no need to look at it again and again
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


def main() -> None:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--latency-ms", type=float, default=30.0)
    parser.add_argument("--page-latency-ms", type=float, default=90.0)
    parser.add_argument("--objects", type=int, default=0, help="in the first bucket, at the start")
    parser.add_argument("--files", type=int, default=1, help="files of each artifact among them")
    parser.add_argument("--layout", choices=LAYOUTS, default="ids", help="of their keys")
    parser.add_argument("--refused", type=float, default=0.0, help="this share of the requests")
    parser.add_argument("--buckets", default="production,store", help="names, by commas")
    told = parser.parse_args()
    names = told.buckets.split(",")
    server = Server(names, told.latency_ms / 1e3, told.page_latency_ms / 1e3, told.refused)
    first = server.buckets[names[0].encode()]
    for key in keys(told.objects, told.files, told.layout):
        seed = key.encode()
        first.put(f"{PREFIX}/{key}".encode(), Entry(seed, size_of(key)))
    asyncio.run(serve(server, told.port))


if __name__ == "__main__":
    main()
