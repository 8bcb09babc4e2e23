"""Rows of PyMySQL as columns, from the packets of the protocol.

PyMySQL itself reads every value of every row in Python, which takes most of the time. Here a batch
of packets is cut by numpy and polars. It needs to know a little of PyMySQL's inside; where that
looks different, `can_read_packets` says so, and the rows come from PyMySQL's own cursor.

A row packet is its values one behind the other, each with its length before it: one byte below
251, or 252, 253, 254 and then 2, 3, 8 bytes; 251 is NULL. A packet has a header of four bytes: its
length, and a number. https://mariadb.com/kb/en/result-set-packets/
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from handful.labels.base import BATCH_OF_BYTES, MOST_BYTES
from handful.labels.columns import Column, text_of
from handful.labels.drivers.text_values import Kind
from handful.labels.reading import Batch

_CHUNK = 1 << 18
_WHOLE = 0xFFFFFF
"""A packet of this length goes on in the next one."""
_NULL, _END, _ERROR = 251, 254, 255
_END_IS_SHORTER = 9
_WIDTHS = {252: 2, 253: 3, 254: 8}
_CONNECTION_LOST_CODE = 2013


def can_read_packets(raw: Any) -> bool:
    """Is this a PyMySQL, and a polars, whose inside is as it is known here?"""
    has_reader = hasattr(getattr(raw, "_rfile", None), "read1")
    return has_reader and hasattr(pl.Series([b""]).bin, "slice")


def packet_columns(raw: Any, cursor: Any, kinds: Sequence[Kind]) -> Generator[Batch]:
    """The rows of an open, unbuffered cursor."""
    packets = _packets(raw)
    try:
        for rows in _batches(packets):
            yield partial(_parse_row_packets, rows, kinds)
    finally:
        # It must not go looking for the rows that were read here, nor for those that were not.
        cursor._result.unbuffered_active = False
        cursor._result.connection = None
    cursor.close()


def _batches(packets: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    waiting: list[bytes] = []
    size = 0
    for some in packets:
        waiting += some
        size += sum(map(len, some))
        while len(waiting) >= BATCH_OF_BYTES or (waiting and size > MOST_BYTES):
            yield waiting[:BATCH_OF_BYTES]
            waiting = waiting[BATCH_OF_BYTES:]
            size = sum(map(len, waiting))
    if waiting:
        yield waiting


def _packets(raw: Any) -> Iterator[list[bytes]]:
    """Row packets until the one that says that it was the last."""
    from pymysql.err import (  # type: ignore[import-untyped]
        OperationalError,
        raise_mysql_exception,
    )

    buffer, begun = b"", b""
    while True:
        try:
            more = raw._rfile.read1(_CHUNK)
        except OSError as error:
            raise OperationalError(
                _CONNECTION_LOST_CODE, f"Lost connection to MySQL server ({error})"
            ) from error
        if not more:
            raise OperationalError(
                _CONNECTION_LOST_CODE, "Lost connection to MySQL server during query"
            )
        buffer += more
        found: list[bytes] = []
        at, end = 0, len(buffer)
        while at + 4 <= end:
            length = int.from_bytes(buffer[at : at + 3], "little")
            if at + 4 + length > end:
                break
            packet = buffer[at + 4 : at + 4 + length]
            at += 4 + length
            if length == _WHOLE:
                begun += packet
                continue
            if begun:
                packet, begun = begun + packet, b""
            elif packet[0] == _END and length < _END_IS_SHORTER:
                yield found
                return
            elif packet[0] == _ERROR:
                raise_mysql_exception(packet)
            found.append(packet)
        buffer = buffer[at:]
        if found:
            yield found


def _parse_row_packets(rows: list[bytes], kinds: Sequence[Kind]) -> list[Column]:
    data = np.frombuffer(b"".join(rows) + bytes(9), dtype=np.uint8)
    sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    starts = np.cumsum(sizes) - sizes
    packets = pl.Series("packet", rows, dtype=pl.Binary)
    at = starts.copy()
    columns = []
    for kind in kinds:
        is_null, begin, length = _lengths(data, at)
        at = begin + length
        values = _slices(packets, is_null, begin - starts, length)
        is_binary = kind in (Kind.BYTES, Kind.BITS)
        columns.append(Column(kind, values) if is_binary else text_of(values, kind))
    return columns


def _lengths(data: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Is it NULL, where does it begin, and how long is it; of the values at `at`."""
    first = data[at].astype(np.int64)
    is_null = first == _NULL
    length = np.where(is_null, 0, first)
    begin = at + 1
    for mark, width in _WIDTHS.items():
        long = np.flatnonzero(first == mark)
        if long.size:
            digits = data[at[long][:, None] + np.arange(1, width + 1)].astype(np.int64)
            length[long] = (digits << (8 * np.arange(width))).sum(axis=1)
            begin[long] += width
    return is_null, begin, length


def _slices(
    packets: pl.Series, is_null: np.ndarray, begin: np.ndarray, length: np.ndarray
) -> pl.Series:
    table = pl.DataFrame({"packet": packets, "begin": begin, "length": length, "null": is_null})
    value = pl.col("packet").bin.slice(pl.col("begin"), pl.col("length"))
    return table.select(v=pl.when(~pl.col("null")).then(value))["v"]
