"""Streams one object through this machine, for copies that no server may make by itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from handful.storage.s3.clients import Clients
from handful.storage.s3.errors import asking

if TYPE_CHECKING:
    from typing_extensions import Buffer

PARTS_AT_ONCE = 2


def stream_memory_bytes(part_bytes: int) -> int:
    """What `put_streamed` holds: the parts under way, one that is filled, and one that is read.

    In bytes, for parts of `part_bytes` each.
    """
    return part_bytes * (PARTS_AT_ONCE + 2)


class Pieces(io.RawIOBase):
    """An iterator of bytes as a file to read from."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        room = memoryview(buffer)
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def put_streamed(
    clients: Clients, key: str, pieces: Iterator[bytes | memoryview], part_bytes: int, where: str
) -> None:
    """Put the pieces together at `key`, in parts of `part_bytes`; two of them are held at a time.

    By boto3: obstore cannot read from one server inside a call that writes to another.
    """
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=part_bytes,
        multipart_chunksize=part_bytes,
        max_concurrency=PARTS_AT_ONCE,
    )
    config.max_in_memory_upload_chunks = PARTS_AT_ONCE
    with asking(where, clients.bucket), io.BufferedReader(Pieces(pieces), part_bytes) as file:
        clients.boto().upload_fileobj(
            file, clients.bucket, key, ExtraArgs=clients.extra, Config=config
        )
