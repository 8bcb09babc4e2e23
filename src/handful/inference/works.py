"""What the workers do: `process_func` on private copies, and `encode_data`, without a label.

The workers are those of prepare: one that dies or hangs costs the document in its hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from handful.errors import HandfulError
from handful.errors.exceptions import (
    describe_exception,
    is_from_outside,
    shortage_at_work,
    signals_heard,
)
from handful.steps.prepare.encoding import schema
from handful.steps.prepare.encoding.call_encode import Answer, Caller, Encoding
from handful.steps.prepare.encoding.columns import Columns, Plain
from handful.steps.prepare.encoding.halving import in_halves
from handful.steps.prepare.encoding.values import Misfit
from handful.steps.reconcile.processing.processor import Artifact
from handful.storage.base import Store
from handful.training.calls import place
from handful.user_functions.load import Encoded
from handful.user_functions.workers.messages import Desk, Loss

if TYPE_CHECKING:
    import pyarrow as pa

PROCESS = "process_func"
_DOCUMENT_ERROR_LENGTH = 500


@dataclass(frozen=True)
class Failure:
    """Why a document cannot be predicted."""

    what: str
    where: str = ""
    """File and line of the user's own code, if it raised."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what

    @classmethod
    def by(cls, error: BaseException, desk: Desk, function: str) -> Self:
        text = desk.settings.hide(describe_exception(error))[:_DOCUMENT_ERROR_LENGTH]
        if isinstance(error, HandfulError):
            return cls(text.partition(": ")[2], "")
        return cls(text, f"{place(desk.directory, error)} in {function}")


@dataclass(frozen=True)
class Copy:
    """A document's private copy."""

    id: str
    label: str | None
    folder: Path
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProcessBatch:
    """process_func on some copies. Satisfies `user_functions.workers.messages.Work`."""

    copies: tuple[Copy, ...]
    store: Store
    """For `experiment_path`."""
    patience: float
    """PROCESS_TIMEOUT, in seconds."""
    set_aside: Mapping[str, str] = field(default_factory=dict)
    """Artifact id → why it is not tried again."""
    losses: int = 0

    def without(self, in_hand: range, loss: Loss) -> Self:
        lost = {self.copies[i].id: f"{PROCESS}: {loss}" for i in in_hand}
        return replace(self, set_aside={**self.set_aside, **lost}, losses=self.losses + (not lost))

    def do(self, desk: Desk) -> dict[str, Failure]:
        """Artifact id → why it failed; only those that did."""
        functions = desk.functions
        failed = {one: Failure(why) for one, why in self.set_aside.items()}
        for position, copy in enumerate(self.copies):
            if copy.id in failed:
                continue
            desk.gauge.begin(position, position + 1, warm=PROCESS in desk.warm)
            try:
                functions.call(PROCESS, **self._menu(desk, copy))
            except Exception as error:  # the user's own code
                short = shortage_at_work(error, others_went_well=len(failed) < position)
                if short:
                    raise short from error
                failed[copy.id] = Failure.by(error, desk, PROCESS)
            desk.warm.add(PROCESS)
        desk.gauge.rest(len(self.copies))
        return failed

    def _menu(self, desk: Desk, copy: Copy) -> dict[str, Any]:
        label: Any = copy.label
        row = {"artifact_id": copy.id, "label": label, "file_hash": None}
        return {
            "artifact": Artifact(copy.id, label, None, row),
            "files": list(copy.files),
            "artifact_path": copy.folder,
            "experiment_path": self.store.path(),
            "overwrite": False,
            "settings": desk.settings,
        }


@dataclass
class Rows:
    """What came of the instances of one work."""

    table: pa.Table | None = None
    """The model's columns; None if no instance could be encoded."""
    lengths: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Whose rows they are."""
    failed: dict[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EncodeBatch(Encoding):
    """encode_data on some instances whose `label` is None."""

    features: Mapping[str, Any]
    """`Features.to_dict()` of the rows as prepare saves them."""

    def do(self, desk: Desk) -> Rows:
        return _Encoder(desk, self).run()


class _Encoder:
    def __init__(self, desk: Desk, work: EncodeBatch) -> None:
        import datasets

        saved = datasets.Features.from_dict(dict(work.features))
        mine = {name: one for name, one in saved.items() if name not in schema.OURS}
        self._features = datasets.Features(mine)
        self._columns = Columns(self._features)
        self._flat = schema.flat_fields(self._features)
        self._desk, self._work = desk, work

    def run(self) -> Rows:
        work, rows = self._work, Rows()
        rows.failed = {one.artifact_id: Failure(one.error) for one in work.set_aside.values()}
        found: list[_DocumentRow] = []
        for instance, answer in Caller(self._desk, work).answers(range(len(work.instances))):
            row = self._row(answer)
            if isinstance(row, Failure):
                rows.failed[instance.id] = row
            else:
                found.append((instance.id, row))
        self._add(rows, found)
        return rows

    def _row(self, answer: Answer) -> dict[str, Plain] | Failure:
        """The fields of the features, whatever label the user's code gave beside them."""
        if isinstance(answer, BaseException):
            return Failure.by(answer, self._desk, "encode_data")
        heard = signals_heard()
        encoded = answer.features if isinstance(answer, Encoded) else answer
        if encoded is None:
            return Failure("encode_data returned None, which leaves the document out")
        if not isinstance(encoded, Mapping):
            return Failure(f"encode_data returned {type(encoded).__name__}, not a dict or None")
        try:
            return self._plain(dict(encoded))
        except Misfit as fault:
            return Failure(str(fault))
        except BaseException as error:  # a mapping of the user's own may raise anything
            if is_from_outside(error, heard):
                raise
            return Failure.by(error, self._desk, "encode_data")

    def _plain(self, encoded: Mapping[str, Any]) -> dict[str, Plain]:
        missing = [name for name in self._features if name not in encoded]
        extra = [n for n in encoded if n not in self._features and n != schema.LABELS]
        if missing or extra:
            told = [f"missing field {name}" for name in missing]
            told += [f"extra field {name}" for name in extra]
            raise Misfit(f"{', '.join(told)}: it does not fit get_dataset_features")
        return self._columns.plain(encoded)

    def _add(self, rows: Rows, found: Sequence[_DocumentRow]) -> None:
        """All rows as one table, but for those that cannot be in any."""
        import pyarrow as pa

        def record_row_failure(row: _DocumentRow, error: Exception) -> None:
            rows.failed[row[0]] = Failure(describe_exception(error)[:_DOCUMENT_ERROR_LENGTH])

        made = list(in_halves(found, self._table, record_row_failure))
        kept = [row for some, _ in made for row in some]
        rows.table = pa.concat_tables([table for _, table in made]) if made else None
        rows.ids = [one for one, _ in kept]
        rows.lengths = [max((len(row[n]) for n in self._flat), default=1) for _, row in kept]

    def _table(self, rows: Sequence[_DocumentRow]) -> pa.Table:
        import pyarrow as pa

        arrays = self._columns.arrays([row for _, row in rows])
        return pa.Table.from_arrays(list(arrays.values()), schema=self._features.arrow_schema)


_DocumentRow = tuple[str, dict[str, Plain]]
"""An artifact id, and its features in the plain form."""
