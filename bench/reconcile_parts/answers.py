"""What the latency server keeps, and the bytes that it answers."""

from __future__ import annotations

import hashlib
import html
import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes
from xml.sax.saxutils import escape

PAGE = 1_000
"""Keys a page, at most."""
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


class Entry:
    """One object. Its content is `seed`, repeated up to `size`: a generated one costs no memory."""

    __slots__ = ("etag", "modified", "seed", "size")

    def __init__(self, seed: bytes, size: int, etag: bytes | None = None) -> None:
        self.seed = seed
        self.size = size
        self.etag = etag or hashlib.md5(self.content, usedforsecurity=False).hexdigest().encode()
        self.modified = int(time.time())

    @property
    def content(self) -> bytes:
        if len(self.seed) == self.size:
            return self.seed
        return (self.seed * (self.size // len(self.seed) + 1))[: self.size]


class Bucket:
    """Objects by key; the keys in byte order are brought up to date when somebody lists."""

    def __init__(self) -> None:
        self.objects: dict[bytes, Entry] = {}
        self._sorted: list[bytes] = []
        self._added: list[bytes] = []
        self._removed = False

    def put(self, key: bytes, entry: Entry) -> None:
        if key not in self.objects:
            self._added.append(key)
        self.objects[key] = entry

    def delete(self, key: bytes) -> None:
        self._removed = self.objects.pop(key, None) is not None or self._removed

    def page(self, prefix: bytes, after: bytes, most: int) -> tuple[list[bytes], bool]:
        """The keys behind `after` with that prefix, and whether there are more of them."""
        ordered = self._ordered()
        start = bisect_left(ordered, prefix)
        if after:
            start = max(start, bisect_right(ordered, after))
        found = ordered[start : start + most + 1]
        if found and not found[-1].startswith(prefix):
            found = [key for key in found if key.startswith(prefix)]
        return found[:most], len(found) > most

    def folders(self, prefix: bytes, most: int) -> tuple[list[bytes], bool]:
        """The folders right below a prefix, and whether there are more of them (or keys)."""
        ordered = self._ordered()
        found: list[bytes] = []
        keys, at = 0, bisect_left(ordered, prefix)
        while at < len(ordered) and ordered[at].startswith(prefix):
            if len(found) + keys == most:
                return found, True
            slash = ordered[at].find(b"/", len(prefix))
            if slash < 0:
                keys, at = keys + 1, at + 1
                continue
            found.append(ordered[at][: slash + 1])
            at = bisect_left(ordered, found[-1][:-1] + b"0")  # what comes behind a slash
        return found, False

    def _ordered(self) -> list[bytes]:
        if self._added or self._removed:
            # A key that was removed and put again is in both lists: the set makes it one.
            both = {*self._sorted, *self._added} if self._removed else [*self._sorted, *self._added]
            self._sorted = sorted(key for key in both if key in self.objects)
            self._added, self._removed = [], False
        return self._sorted


class Request:
    """What was asked, as far as anybody looks."""

    __slots__ = ("body", "bucket", "head", "key", "lower", "method", "query")

    def __init__(self, head: bytes, lower: bytes, body: bytes) -> None:
        self.method, target, _ = head[: head.find(b"\r\n")].split(b" ", 2)
        path, _, query = target.partition(b"?")
        self.bucket, _, key = path[1:].partition(b"/")
        self.key = unquote_to_bytes(key) if b"%" in key else key
        self.query = dict(parse_qsl(query.decode(), keep_blank_values=True)) if query else {}
        self.head, self.lower, self.body = head, lower, body

    def header(self, name: bytes) -> bytes:
        """The value of the header `name` (in small letters); empty if there is none."""
        return header_of(self.head, self.lower, name)


def header_of(head: bytes, lower: bytes, name: bytes) -> bytes:
    at = lower.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def answer(buckets: Mapping[bytes, Bucket], request: Request) -> tuple[str, bytes]:
    """The kind of the request, as it is counted, and the bytes to answer."""
    bucket, method = buckets.get(request.bucket), request.method
    if bucket is None:
        return "no_bucket", _error(b"404 Not Found", b"NoSuchBucket", method)
    if not request.key:
        return _of_bucket(bucket, request)
    if request.query.keys() - {"x-id"}:
        return _unknown(request)
    if method == b"PUT":
        source = request.header(b"x-amz-copy-source")
        return (
            ("copy", _copy(buckets, request, source)) if source else ("put", _put(bucket, request))
        )
    if method in (b"GET", b"HEAD"):
        return method.decode().lower(), _get(bucket, request)
    if method == b"DELETE":
        bucket.delete(request.key)
        return "delete", framed(b"204 No Content")
    return _unknown(request)


def _of_bucket(bucket: Bucket, request: Request) -> tuple[str, bytes]:
    query = request.query
    if request.method == b"HEAD":
        return "head_bucket", framed(b"200 OK", headers=b"x-amz-bucket-region: us-east-1\r\n")
    if request.method == b"POST" and "delete" in query:
        return "delete_many", _delete_many(bucket, request)
    if query.get("list-type") == "2":
        if query.get("delimiter") == "/":
            return "list", _folders(bucket, query)
        return "list", _page(bucket, query)
    return _unknown(request)


def _unknown(request: Request) -> tuple[str, bytes]:
    return "unknown", _error(b"501 Not Implemented", b"NotImplemented", request.method)


def _copy(buckets: Mapping[bytes, Bucket], request: Request, source: bytes) -> bytes:
    name, _, key = unquote_to_bytes(source).lstrip(b"/").partition(b"/")
    there = buckets.get(name)
    entry = there.objects.get(key) if there else None
    if entry is None:
        return _error(b"404 Not Found", b"NoSuchKey", request.method)
    copied = Entry(entry.seed, entry.size, entry.etag)
    buckets[request.bucket].put(request.key, copied)
    return _xml(
        b"<CopyObjectResult><LastModified>%b</LastModified><ETag>&quot;%b&quot;</ETag>"
        b"</CopyObjectResult>" % (_iso(copied.modified), copied.etag)
    )


def _delete_many(bucket: Bucket, request: Request) -> bytes:
    found = _KEY.findall(request.body)
    for key in found:
        bucket.delete(html.unescape(key.decode()).encode())
    gone = b"".join(b"<Deleted><Key>%b</Key></Deleted>" % key for key in found)
    return _xml(b"<DeleteResult>%b</DeleteResult>" % gone)


def _put(bucket: Bucket, request: Request) -> bytes:
    if request.header(b"x-amz-content-sha256").startswith(b"STREAMING"):
        return _error(b"501 Not Implemented", b"NotImplemented", b"PUT")
    if request.key in bucket.objects and request.header(b"if-none-match") == b"*":
        return _error(b"412 Precondition Failed", b"PreconditionFailed", b"PUT")
    entry = Entry(request.body, len(request.body))
    bucket.put(request.key, entry)
    return framed(b"200 OK", headers=b'ETag: "%b"\r\n' % entry.etag)


def _get(bucket: Bucket, request: Request) -> bytes:
    entry = bucket.objects.get(request.key)
    if entry is None:
        return _error(b"404 Not Found", b"NoSuchKey", request.method)
    headers = b'ETag: "%b"\r\nLast-Modified: %b\r\n' % (entry.etag, _rfc(entry.modified))
    if request.method == b"HEAD":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n" % (entry.size, headers)
    return framed(b"200 OK", entry.content, headers)


def _page(bucket: Bucket, query: dict[str, str]) -> bytes:
    token = query.get("continuation-token")
    after = bytes.fromhex(token) if token else query.get("start-after", "").encode()
    most = min(PAGE, int(query.get("max-keys", PAGE)))
    found, more = bucket.page(query.get("prefix", "").encode(), after, most)
    as_url = query.get("encoding-type") == "url"
    written = b"".join(
        b"<Contents><Key>%b</Key><LastModified>%b</LastModified><ETag>&quot;%b&quot;</ETag>"
        b"<Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>"
        % (_shown(key, as_url), _iso(entry.modified), entry.etag, entry.size)
        for key, entry in zip(found, map(bucket.objects.__getitem__, found), strict=True)
    )
    following = b""
    if more:
        token_ = found[-1].hex().encode()
        following = b"<NextContinuationToken>%b</NextContinuationToken>" % token_
    return _xml(
        b"<ListBucketResult><IsTruncated>%b</IsTruncated><KeyCount>%d</KeyCount>"
        b"<MaxKeys>%d</MaxKeys>%b%b%b</ListBucketResult>"
        % (
            b"true" if more else b"false",
            len(found),
            most,
            b"<EncodingType>url</EncodingType>" if as_url else b"",
            following,
            written,
        )
    )


def _folders(bucket: Bucket, query: dict[str, str]) -> bytes:
    """The first page of a listing with a delimiter, its keys left out: nobody reads them."""
    found, more = bucket.folders(query.get("prefix", "").encode(), PAGE)
    as_url = query.get("encoding-type") == "url"
    prefix = b"<CommonPrefixes><Prefix>%b</Prefix></CommonPrefixes>"
    return _xml(
        b"<ListBucketResult><IsTruncated>%b</IsTruncated>%b%b</ListBucketResult>"
        % (
            b"true" if more else b"false",
            b"<EncodingType>url</EncodingType>" if as_url else b"",
            b"".join(prefix % _shown(folder, as_url) for folder in found),
        )
    )


def _shown(key: bytes, as_url: bool) -> bytes:
    if as_url:
        return quote_from_bytes(key).encode()
    return escape(key.decode()).encode() if b"&" in key or b"<" in key or b">" in key else key


def _xml(body: bytes) -> bytes:
    body = b'<?xml version="1.0" encoding="UTF-8"?>' + body
    return framed(b"200 OK", body, b"Content-Type: application/xml\r\n")


def _error(status: bytes, code: bytes, method: bytes) -> bytes:
    body = b"<Error><Code>%b</Code><Message>%b</Message></Error>" % (code, code)
    return framed(status, b"" if method == b"HEAD" else body)


def framed(status: bytes, body: bytes = b"", headers: bytes = b"") -> bytes:
    """A whole HTTP answer."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


@lru_cache(maxsize=1024)
def _iso(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds)).encode()


@lru_cache(maxsize=1024)
def _rfc(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()
