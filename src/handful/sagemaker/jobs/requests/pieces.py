"""Long values in the pieces that hyperparameters can hold, and back.

A hyperparameter is one line of at most 2,500 characters, and there may be 100 of them. A value is
compressed and written in base64, so that no line break, quote or blank at a piece's end can be
harmed on the way; zlib's checksum tells if something was.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping

from handful.errors import StepError, UserError

PIECE = 2_500
MOST = 90
"""Pieces of all values together: the rest of the hundred is left for ranges."""
_LARGEST_INFLATED_VALUE = 64_000_000


def cut(name: str, text: str) -> dict[str, str]:
    """`text` as hyperparameters `<name>.00`, `<name>.01`, … `UserError` if they are too many."""
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    found = {
        f"{name}.{number:02d}": packed[start : start + PIECE]
        for number, start in enumerate(range(0, len(packed), PIECE))
    }
    check_count(len(found), name)
    return found


def check_count(count: int, what: str) -> None:
    """`UserError` if so many pieces do not fit into a request."""
    if count > MOST:
        raise UserError(
            f"the {what} takes {count} hyperparameters of {PIECE:,} characters; {MOST} fit",
            where="the request to SageMaker",
            remedy="shorten settings.ini (a long query can lie in LABEL_QUERY_FILE), or use fewer "
            "labels",
        )


def join_pieces(name: str, parameters: Mapping[str, str]) -> str | None:
    """What `cut` was given; None if there is no such value. `StepError` if a piece is missing."""
    prefix = f"{name}."
    pieces = sorted(key for key in parameters if _is_piece(key, prefix))
    if not pieces:
        return None
    packed = "".join(parameters[key] for key in pieces)
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(packed, validate=True), _LARGEST_INFLATED_VALUE)
        if not inflate.eof:
            raise ValueError("it ends too early")
        return data.decode()
    except (binascii.Error, zlib.error, ValueError) as error:
        raise StepError(
            f"the {name} in the hyperparameters is damaged: {error}",
            remedy="start the job anew",
        ) from error


def _is_piece(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key[len(prefix) :].isdigit()
