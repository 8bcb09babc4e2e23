"""What the workers do: `process_func` on private copies, and `encode_data`, without a label.

The workers are those of prepare: one that dies or hangs costs the document in its hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from handful.errors import HandfulError
from handful.functions import Encoded
from handful.steps.prepare import schema
from handful.steps.prepare.calling import Answer, Caller, Encoding
from handful.steps.prepare.work import Desk
from handful.steps.reconcile.processor import Artifact
from handful.storage.base import Store
from handful.training.calls import place

if TYPE_CHECKING:
    import pyarrow as pa

PROCESS = "process_func"
_LONGEST = 500


@dataclass(frozen=True)
class Failure:
    """Why a document cannot be predicted."""

    what: str
    where: str = ""
    """File and line of the user's own code, if it raised."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what

    @classmethod
    def by(cls, error: BaseException, directory: Path, function: str) -> Self:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        text = text.encode("utf-8", "backslashreplace").decode()
        if isinstance(error, HandfulError):
            return cls(text.partition(": ")[2], "")
        return cls(text, f"{place(directory, error)} in {function}")


@dataclass(frozen=True)
class Copy:
    """A document's private copy."""

    id: str
    label: str | None
    folder: Path
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProcessBatch:
    """process_func on some copies. Satisfies `steps.prepare.work.Work`."""

    copies: tuple[Copy, ...]
    store: Store
    """For `experiment_path`."""
    patience: float
    """PROCESS_TIMEOUT, in seconds."""
    set_aside: Mapping[str, str] = field(default_factory=dict)
    """Artifact id → why it is not tried again."""
    losses: int = 0

    def without(self, in_hand: range, why: str) -> Self:
        lost = {self.copies[i].id: f"{PROCESS}: {why}" for i in in_hand}
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
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own code
                failed[copy.id] = Failure.by(error, desk.directory, PROCESS)
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
        own = {schema.ARTIFACT_ID, schema.LENGTH, schema.LABELS}
        self._features = datasets.Features({n: f for n, f in saved.items() if n not in own})
        self._flat = schema.flat_fields(self._features)
        self._desk, self._work = desk, work

    def run(self) -> Rows:
        work, rows = self._work, Rows()
        rows.failed = {one.artifact_id: Failure(one.error) for one in work.set_aside.values()}
        found: dict[str, dict[str, Any]] = {}
        for instance, answer in Caller(self._desk, work).answers(range(len(work.instances))):
            one = instance.id
            row = self._row(answer)
            if isinstance(row, Failure):
                rows.failed[one] = row
            else:
                found[one] = row
        if found:
            self._add(rows, found)
        return rows

    def _row(self, answer: Answer) -> dict[str, Any] | Failure:
        """The fields of the features, whatever label the user's code gave beside them."""
        if isinstance(answer, BaseException):
            return Failure.by(answer, self._desk.directory, "encode_data")
        encoded = answer.features if isinstance(answer, Encoded) else answer
        if encoded is None:
            return Failure("encode_data returned None, which leaves the document out")
        if not isinstance(encoded, Mapping):
            return Failure(f"encode_data returned {type(encoded).__name__}, not a dict or None")
        missing = [name for name in self._features if name not in encoded]
        extra = [n for n in encoded if n not in self._features and n != schema.LABELS]
        if missing or extra:
            told = [f"missing field {name}" for name in missing]
            told += [f"extra field {name}" for name in extra]
            return Failure(f"{', '.join(told)}: it does not fit get_dataset_features")
        return {name: encoded[name] for name in self._features}

    def _add(self, rows: Rows, found: dict[str, dict[str, Any]]) -> None:
        """All rows as one table; only if they do not fit together is each looked at by itself."""
        import pyarrow as pa

        wrong = (pa.ArrowException, TypeError, ValueError, OverflowError)
        try:
            table = self._table(list(found.values()))
        except wrong:
            table = None
        if table is None or _has_nulls(table):
            good = {}
            for one, row in found.items():
                fault = self._fault(row)
                if fault:
                    rows.failed[one] = Failure(fault)
                else:
                    good[one] = row
            found, table = good, self._table(list(good.values())) if good else None
        rows.table, rows.ids = table, list(found)
        rows.lengths = [
            max((len(row[name]) for name in self._flat), default=1) for row in found.values()
        ]

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        import datasets

        columns = {name: [row[name] for row in rows] for name in self._features}
        return datasets.Dataset.from_dict(columns, features=self._features).data.table

    def _fault(self, row: Mapping[str, Any]) -> str:
        import pyarrow as pa

        for name, feature in self._features.items():
            fault = schema.misfit(feature, schema.plain(row[name]))
            if fault:
                return f"field {name}: expected {schema.described(feature)}, found {fault}"
        try:
            return "a field holds nulls" if _has_nulls(self._table([row])) else ""
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]


def _has_nulls(table: pa.Table) -> bool:
    return any(_nulls(chunk) for column in table.columns for chunk in column.chunks)


def _nulls(array: Any) -> bool:
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.null_count:
        return True
    nested = (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)
    return isinstance(array, nested) and _nulls(array.flatten())
