"""Is what arrived what the server keeps? A body may be cut, or changed, on its way.

The ETag of an object that was put in one piece is the MD5 of its content, unless it is encrypted by
KMS or with a customer's key. Where it is not, only the size can be compared: a HEAD tells it, since
the length that came with the body may have been made to fit. Who serves other ETags than these two
kinds is found out once: a body that differs from its ETag is read again in two ranges, where
whatever changes bodies would hit other bytes.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from handful.storage.retry import BrokenOff

if TYPE_CHECKING:
    from handful.storage.s3.clients import Clients

_MD5_ETAG_PATTERN = re.compile("[0-9a-f]{32}")
_BY_KMS = ("aws:kms", "aws:kms:dsse")
_ARRIVAL_REMEDY = (
    "something between here and the server changes what it sends, or the server's disk does"
)


class Arrival:
    """The pieces of a body, counted and hashed as they come."""

    def __init__(self, etag: str | None) -> None:
        """`etag`: as the answer has it."""
        self.size = 0
        self.etag = (etag or "").strip('"')
        self._md5 = (
            hashlib.md5(usedforsecurity=False)
            if _MD5_ETAG_PATTERN.fullmatch(self.etag) is not None
            else None
        )

    def add(self, piece: bytes | memoryview) -> None:
        """`piece`: the next bytes that came."""
        self.size += len(piece)
        if self._md5 is not None:
            self._md5.update(piece)

    @property
    def digest(self) -> str | None:
        """The MD5, in hex; None where the ETag is none."""
        return None if self._md5 is None else self._md5.hexdigest()


def check_arrival(clients: Clients, key: str, arrival: Arrival, where: str) -> None:
    """`BrokenOff` if the body of the full `key` is not what the server keeps."""
    digest = arrival.digest
    if digest is not None and digest == arrival.etag:
        clients.etags_are_md5 = True
        return
    told: dict[str, Any] = clients.boto().head_object(Bucket=clients.bucket, Key=key)
    size = int(told["ContentLength"])
    if size != arrival.size:
        raise BrokenOff(
            f"{arrival.size} of {size} bytes arrived", where=where, remedy=_ARRIVAL_REMEDY
        )
    if digest is None or clients.etags_are_md5 is False:
        return
    own_key = told.get("SSECustomerAlgorithm") or told.get("ServerSideEncryption") in _BY_KMS
    if own_key or str(told.get("ETag", "")).strip('"') != arrival.etag:
        return  # no MD5; or it was replaced meanwhile, and that is as good as having come earlier
    if clients.etags_are_md5 is None and digest == _in_ranges(clients, key, size):
        clients.etags_are_md5 = False
        return
    raise BrokenOff(
        f"what arrived is not what the server keeps (MD5 {digest}, ETag {arrival.etag})",
        where=where,
        remedy=_ARRIVAL_REMEDY,
    )


def _in_ranges(clients: Clients, key: str, size: int) -> str:
    """The MD5 of the content, read in two ranges."""
    import obstore

    store, half = clients.bucket_store(), size // 2
    digest = hashlib.md5(usedforsecurity=False)
    for start, end in ((0, half), (half, size)):
        if start < end:
            digest.update(bytes(obstore.get_range(store, key, start=start, end=end)))
    return digest.hexdigest()
