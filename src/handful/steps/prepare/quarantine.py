"""Instances that could not be encoded: who, why, and how many are too many."""

from __future__ import annotations

import io
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import handful
from handful.errors import DataError
from handful.errors.exceptions import describe_exception, original
from handful.settings import Limit
from handful.steps.prepare.second_try import METADATA

_LONGEST_ERROR = 500
_LONGEST_TRACEBACK = 8000
_MOST_FREQUENT = 5


@dataclass(frozen=True)
class Quarantined:
    """One instance that could not be encoded."""

    artifact_id: str
    label: str
    error: str
    """The class and message, in one line."""
    traceback: str
    """From the user's own function on; empty if no exception was raised."""
    files: tuple[str, ...] = ()
    """The names of its input files."""
    file_sizes: tuple[int, ...] = ()
    """Their bytes."""

    @classmethod
    def by(
        cls, error: BaseException, artifact_id: str, label: str, hide: Callable[[str], str] = str
    ) -> Self:
        """The instance for which `error` was raised; `hide` takes the secrets out of its words."""
        message = hide(describe_exception(error))
        text = hide(_traceback_of(original(error)))
        return cls(
            artifact_id,
            label,
            message[:_LONGEST_ERROR],
            _clean(text[-_LONGEST_TRACEBACK:]),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            raw["artifact_id"],
            raw["label"],
            raw["error"],
            raw["traceback"],
            tuple(raw["files"]),
            tuple(raw["file_sizes"]),
        )


def _traceback_of(error: BaseException) -> str:
    """From the user's own function on, unless the user's own class has trouble with that."""
    try:
        users = _users_part(error.__traceback__)
        return "".join(traceback.format_exception(type(error), error, users))
    except BaseException:  # noqa: BLE001 - whatever it is, the instance is lost by `error`
        return describe_exception(error)


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """A traceback without handful's own frames at its beginning."""
    here = str(Path(handful.__file__).parent)
    while frames and frames.tb_frame.f_code.co_filename.startswith(here):
        frames = frames.tb_next
    return frames


def _clean(text: str) -> str:
    """Lone surrogates cannot be written anywhere."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_limit(quarantined: Sequence[Quarantined], total: int, limit: Limit, model: str) -> None:
    """`DataError` with the most frequent errors if more were quarantined than MAX_QUARANTINED."""
    if limit.allows(len(quarantined), total):
        return
    errors = Counter(one.error for one in quarantined).most_common(_MOST_FREQUENT)
    example = {one.error: one.artifact_id for one in reversed(quarantined)}
    lines = "".join(f"\n    {n} × {error} (such as {example[error]})" for error, n in errors)
    raise DataError(
        f"{len(quarantined)} of {total} instances could not be encoded for {model}, "
        f"more than MAX_QUARANTINED = {limit} allows:{lines}",
        where="[prepare] MAX_QUARANTINED",
        remedy="mend encode_data or the files, or allow more",
    )


def as_parquet(quarantined: Iterable[Quarantined], tried_twice: Iterable[str] = ()) -> bytes:
    """quarantine.parquet, sorted by artifact id; `tried_twice`: see `second_try`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("artifact_id", pa.string()),
            ("label", pa.string()),
            ("error", pa.string()),
            ("traceback", pa.string()),
            ("files", pa.list_(pa.string())),
            ("file_sizes", pa.list_(pa.int64())),
        ],
        metadata={METADATA: "\n".join(tried_twice).encode()},
    )
    rows = [one.to_json() for one in sorted(quarantined, key=lambda q: q.artifact_id)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file.getvalue()
