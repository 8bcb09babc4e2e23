"""What a database says of a file → the key under which production's `Source` knows it.

    a/b.txt                          below FILES_URL
    /data/files/a/b.txt              a path; of a bucket, from the bucket's root
    s3://bucket/a/b.txt              the key as it is (s3a:// and s3n://, too); arn:aws:s3:::… is
                                     the same
    https://bucket.s3.amazonaws.com/a%20b.txt     AWS's own addresses, or S3_ENDPOINT_URL's; decoded
    file:///data/files/a%20b.txt     decoded

A reference is hostile until it was looked at here: what leads out of FILES_URL and FILE_BUCKETS is
refused before anybody asks for it. Nothing is guessed: on S3 `a//b`, `a/./b` and `a/b` are three
objects, so a key with such a part is refused, while a path is resolved as the system would, links
included.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from handful.steps.reconcile.keys.names import LONGEST
from handful.storage.keys import key_fault

S3 = "s3://"
_S3_SCHEME = re.compile(r"s3[an]?://", re.IGNORECASE)
_ARN = re.compile(r"arn:aws[a-z-]*:s3:::")
_REFERENCE_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AWS_HOST = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]+)\.)?"
    r"s3(?:-accelerate)?(?:\.dualstack)?(?:[.-](?!website)[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?"
)
_PORTS = {"http": 80, "https": 443}
_MAX_REFERENCE_KEY_BYTES = 1_024
"""Bytes of a key: S3's own limit."""
_LONGEST_PATH = 4_000
_UNREADABLE = "is no address that can be read"


@dataclass(frozen=True)
class Resolved:
    """Where a reference leads."""

    key: str
    """As the source takes it; "" if it is refused."""
    fault: str = ""
    """Why it is refused."""


class Resolver(Protocol):
    """Reads references as one FILES_URL means them."""

    def resolve(self, reference: str) -> Resolved:
        """The key, or why it is refused; nothing is asked of production for it."""


class _Refused(Exception):
    """Ends the reading of a reference."""


def resolver(url: str, buckets: Sequence[str], endpoint_url: str | None) -> Resolver:
    """`url`: the source's root; `buckets`: FILE_BUCKETS, as `s3://bucket/prefix`."""
    if not url.startswith(S3):
        return _Paths(url)
    bucket, _, prefix = url[len(S3) :].partition("/")
    return _Objects(bucket, f"{prefix}/" if prefix else "", tuple(buckets), endpoint_url)


def name_of(reference: str) -> str:
    """The last segment: the file's name, as far as a refused reference has one."""
    return without_query(reference).rstrip("/").rpartition("/")[2]


def without_query(reference: str) -> str:
    """The reference as a reason may show it: a signature or a login is nobody's business."""
    if not re.match(r"https?://", reference, re.IGNORECASE):
        return reference
    bare = re.sub(r"[?#].*", "", reference, flags=re.DOTALL)
    return re.sub(r"^(\w+://)[^/]*@", r"\1", bare)


@dataclass(frozen=True)
class _Objects:
    """References to objects of buckets."""

    bucket: str
    prefix: str
    """Of FILES_URL: "" or ending in `/`."""
    buckets: tuple[str, ...]
    endpoint_url: str | None

    def resolve(self, reference: str) -> Resolved:
        try:
            bucket, key = self._address(reference)
            _check(key, reference)
            return Resolved(self._check_reference_bucket(bucket, key))
        except _Refused as refused:
            return Resolved("", str(refused))

    def _address(self, reference: str) -> tuple[str, str]:
        """Bucket and key, as the reference spells them."""
        start = _S3_SCHEME.match(reference) or _ARN.match(reference)
        if start:
            bucket, _, key = reference[start.end() :].partition("/")
            return bucket, key
        scheme = _REFERENCE_SCHEME.match(reference)
        if scheme is None:
            key = reference.removeprefix("/") if reference[:1] == "/" else self.prefix + reference
            return self.bucket, key
        if scheme[1].lower() not in _PORTS:
            raise _Refused(f"is a {scheme[1][:20]}:// URL, and FILES_URL is a bucket")
        return self._of_http(_parse_reference_url(reference))

    def _of_http(self, parts: SplitResult) -> tuple[str, str]:
        if parts.query or parts.fragment:
            raise _Refused("has a query behind it (a signature, or a version); take the key alone")
        if "+" in parts.path:
            raise _Refused("can be read in two ways: its + may mean a blank; write %20 or %2B")
        bucket = self._bucket_of(parts)
        path = _decode_reference_path(parts.path).removeprefix("/")
        if bucket is None:
            raise _Refused("is no address of the server that FILES_URL lies on")
        if bucket:
            return bucket, path
        bucket, _, path = path.partition("/")
        return bucket, path

    def _bucket_of(self, parts: SplitResult) -> str | None:
        """The bucket that the host names, "" if the path does; None: another server."""
        host = parts.hostname or ""
        if self.endpoint_url is None:
            match = _AWS_HOST.fullmatch(host) if _port(parts) == _PORTS[parts.scheme] else None
            return (match["bucket"] or "") if match else None
        own = urlsplit(self.endpoint_url)
        if _port(parts) != _port(own):
            return None
        before = host.removesuffix(own.hostname or "")
        if before == host or (before and not before.endswith(".")):
            return None
        return before.removesuffix(".")

    def _check_reference_bucket(self, bucket: str, key: str) -> str:
        """The source's key, if FILES_URL or FILE_BUCKETS holds it."""
        if bucket == self.bucket and key.startswith(self.prefix):
            fault = key_fault(key[len(self.prefix) :])
            if fault:
                raise _Refused(fault)
            return key[len(self.prefix) :]
        full = f"{S3}{bucket}/{key}"
        for place in self.buckets:
            if full.startswith(f"{place}/"):
                fault = key_fault(full[len(place) + 1 :])
                if fault:
                    raise _Refused(fault)
                return full
        if bucket == self.bucket:
            raise _Refused("lies outside FILES_URL")
        raise _Refused("lies in a bucket that FILE_BUCKETS does not list")


@dataclass(frozen=True)
class _Paths:
    """References to files below a local directory."""

    root: str

    def resolve(self, reference: str) -> Resolved:
        try:
            path = self._path(reference)
            _check(path.lstrip("/"), reference, resolved=True)
            return Resolved(self._below(path))
        except _Refused as refused:
            return Resolved("", str(refused))

    def _path(self, reference: str) -> str:
        scheme = _REFERENCE_SCHEME.match(reference)
        if scheme is None:
            return reference
        if scheme[1].lower() != "file":
            raise _Refused(f"is a {scheme[1][:20]}:// URL, and FILES_URL is a directory")
        parts = _parse_reference_url(reference)
        if parts.netloc not in ("", "localhost"):
            raise _Refused("names a file of another machine")
        if parts.query or parts.fragment:
            raise _Refused("can be read in two ways: write its ? as %3F, its # as %23")
        return _decode_reference_path(parts.path)

    def _below(self, path: str) -> str:
        """The key of what the system would open; links are followed, and nothing is opened."""
        if len(path.encode()) > _LONGEST_PATH:
            raise _Refused(f"is longer than {_LONGEST_PATH:,} bytes")
        full, real_root = str(Path(self.root) / path), os.path.realpath(self.root)
        try:
            real = os.path.realpath(full)
        except OSError as error:
            raise _Refused(f"cannot be resolved: {error.strerror}") from None
        if not real.startswith(real_root.rstrip("/") + "/"):
            led = os.path.normpath(full).startswith(self.root.rstrip("/") + "/")
            raise _Refused("is a link out of FILES_URL" if led else "lies outside FILES_URL")
        straight = os.path.normpath(full)
        # `..` behind a link does not lead back to where the text says.
        plain = ".." not in path.split("/") and straight.startswith(self.root.rstrip("/") + "/")
        key = os.path.relpath(straight, self.root) if plain else os.path.relpath(real, real_root)
        fault = key_fault(key)
        if fault:
            raise _Refused(fault)
        return key


def _check(key: str, reference: str, *, resolved: bool = False) -> None:
    """Refuse what names no file, wherever it may lie; `resolved`: the system reads `.` and `..`."""
    if _is_json(reference):
        raise _Refused("is JSON, and no key; a list may only hold texts")
    if not key or key.endswith("/"):
        raise _Refused("names a folder, and no file")
    if "\\" in key:
        raise _Refused("holds a backslash")
    fault = key_fault(key if not resolved else _without_dots(key))
    if fault:
        raise _Refused(fault)
    if len(key.rpartition("/")[2].encode()) > LONGEST:
        raise _Refused(f"has a file name of more than {LONGEST} bytes")
    if not resolved and len(key.encode()) > _MAX_REFERENCE_KEY_BYTES:
        raise _Refused(f"is longer than the {_MAX_REFERENCE_KEY_BYTES:,} bytes that S3 allows")


def _without_dots(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "."


def _is_json(reference: str) -> bool:
    if reference[:1] not in ("{", "["):
        return False
    try:
        json.loads(reference)
    except (ValueError, RecursionError):
        return False
    return True


def _parse_reference_url(reference: str) -> SplitResult:
    if not reference.isprintable():
        # `urlsplit` would drop line breaks in silence.
        raise _Refused("holds a control character")
    try:
        parts = urlsplit(reference)
        _port(parts)
    except ValueError:
        raise _Refused(_UNREADABLE) from None
    if parts.username is not None or parts.password is not None:
        raise _Refused("holds a login")
    return parts


def _port(parts: SplitResult) -> int | None:
    return parts.port or _PORTS.get(parts.scheme)


def _decode_reference_path(path: str) -> str:
    """Once: what is still encoded then is a name."""
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise _Refused(_UNREADABLE) from None
