"""Do two places share keys? Told from their names alone; nothing is asked over the network.

Keys are compared as text, so `a/b` and `a/bc` lie apart. On this machine links and `..` are
followed first. In S3 two places overlap in one bucket of one server: all of AWS is one, and two
addresses of another server count as two, since nobody can know what stands behind them.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from handful.storage.base import Source
from handful.storage.local.store import LocalSource
from handful.storage.s3.source import S3Source

_AWS = (".amazonaws.com", ".amazonaws.com.cn")
_DEFAULT_SERVER_PORTS = {"http": 80, "https": 443}


def overlap(one: Source, other: Source, prefix: str = "") -> bool:
    """Lies a key of `one` where a key of `other` that begins with `prefix` may lie?"""
    if isinstance(one, LocalSource) and isinstance(other, LocalSource):
        return _meet(_local_path_prefix(one, ""), _local_path_prefix(other, prefix))
    if isinstance(one, S3Source) and isinstance(other, S3Source):
        mine, others = one.url[5:] + "/", f"{other.url[5:]}/{prefix}"
        return _meet(mine, others) and _server(one) == _server(other)
    return False


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _local_path_prefix(source: LocalSource, prefix: str) -> str:
    """What every path below begins with; a link that is one of its folders is followed."""
    folder, _, start = prefix.rpartition("/")
    real = os.path.realpath(Path(source.url) / folder)
    return real.rstrip("/") + "/" + start


def _server(source: S3Source) -> str:
    """One name for each server, as far as its address tells."""
    address = urlsplit(source.clients.address)
    host = (address.hostname or "").lower()
    if host.endswith(_AWS):
        return "AWS"
    return f"{host}:{address.port or _DEFAULT_SERVER_PORTS.get(address.scheme)}"
