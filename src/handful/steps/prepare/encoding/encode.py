"""Encodes instances with the user's `encode_data`, in a worker.

A shard is an Arrow stream, as `Dataset.map` would write it, but for this: each value is brought to
its feature's own type by itself (`columns`), so that no row depends on its neighbours, and an
instance that fails is quarantined, and only that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from handful.errors.exceptions import is_from_outside, signals_heard
from handful.steps.prepare.encoding import schema, truncation
from handful.steps.prepare.encoding.call_encode import Answer, Caller, Encoding
from handful.steps.prepare.encoding.columns import Columns, Plain
from handful.steps.prepare.encoding.halving import in_halves
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.encoding.truncation import Tallies, Tally
from handful.steps.prepare.encoding.values import Misfit, unwrap_value
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.similarity.known_contents import Contents, check_contents
from handful.user_functions.load import Encoded
from handful.user_functions.workers.messages import Desk

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64
"""Instances that a @batched `encode_data` is given at once."""
ROWS = 1024
"""Rows that are gathered before they become Arrow's."""
ROWS_WRITTEN = 1000
"""Rows of one Arrow batch, at most; `Dataset.map` writes as many."""


@dataclass(frozen=True, kw_only=True)
class EncodeShard(Encoding):
    """One shard, to be written to the Arrow file `path`."""

    number: int
    features: Mapping[str, Any]
    path: Path
    contents: Contents = field(default_factory=dict)
    """What the files are to hold."""
    remedy: str = ""
    """What brings them again."""

    def do(self, desk: Desk) -> Shard:
        check_contents(self.instances, self.contents, self.set_aside, self.remedy)
        return _ShardEncoder(desk, self).run()


@dataclass
class Shard:
    """What is told of an encoded shard."""

    rows: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """The artifacts for which `encode_data` returned None."""
    tallies: Tallies = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "quarantined": [one.to_json() for one in self.quarantined],
            "left_out": self.left_out,
            "truncation": truncation.to_json(self.tallies),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            raw["rows"],
            [Quarantined.from_json(one) for one in raw["quarantined"]],
            list(raw["left_out"]),
            truncation.from_json(raw["truncation"]),
        )


@dataclass(slots=True)
class _Row:
    """What is saved of one instance, in the plain form."""

    instance: Instance
    label: int
    values: dict[str, Plain]
    length: int
    full_length: int | None


class _ShardEncoder:
    """Encodes one shard to its Arrow file."""

    def __init__(self, desk: Desk, work: EncodeShard) -> None:
        import datasets

        self._work = work
        self._caller = Caller(desk, work)
        self._hide = desk.settings.hide
        features = datasets.Features.from_dict(dict(work.features))
        self._schema = features.arrow_schema
        self._labels = features[schema.LABELS]
        self._flat = schema.flat_fields(features)
        self._wanted = frozenset(features) - {schema.ARTIFACT_ID, schema.LENGTH}
        self._columns = Columns({n: one for n, one in features.items() if n not in schema.OURS})
        self._shard = Shard(quarantined=list(work.set_aside.values()))

    def run(self) -> Shard:
        import pyarrow as pa

        work = self._work
        work.path.unlink(missing_ok=True)
        with pa.ipc.new_stream(str(work.path), self._schema) as stream:
            for first in range(0, len(work.instances), ROWS):
                positions = range(first, min(first + ROWS, len(work.instances)))
                self._write(list(self._rows(positions)), stream)
        self._shard.quarantined.sort(key=lambda one: one.artifact_id)
        return self._shard

    def _rows(self, positions: Sequence[int]) -> Iterator[_Row]:
        for instance, answer in self._caller.answers(positions, BATCH):
            heard = signals_heard()
            try:
                if isinstance(answer, BaseException):
                    raise answer
                row = self._row(instance, answer)
            except BaseException as error:  # it costs the instance
                if is_from_outside(error, heard):
                    raise
                self._set_aside(error, instance)
                continue
            if row is None:
                self._shard.left_out.append(instance.id)
            else:
                yield row

    def _row(self, instance: Instance, answer: Answer) -> _Row | None:
        """One row as it is saved; ValueError if it cannot be one."""
        encoded, full = answer, None
        if isinstance(answer, Encoded):
            encoded, full = answer.features, _parse_full_length(answer.full_length)
        if encoded is None:
            return None
        if type(encoded) is not dict and not isinstance(encoded, Mapping):
            raise TypeError(f"encode_data returned {type(encoded).__name__}, not a dict or None")
        row = dict(encoded)
        label = self._work.label2id[instance.label]
        told = row.setdefault(schema.LABELS, label)
        fault = told is not label and self._label_fault(told, label, instance.label)
        if fault:
            raise ValueError(f"field labels: expected {label} ({instance.label!r}), found {fault}")
        if row.keys() != self._wanted:
            raise ValueError(_describe_field_mismatch(self._wanted, row))
        try:
            values = self._columns.plain(row)
        except Misfit as misfit:
            raise ValueError(str(misfit)) from None
        length = max([len(values[name]) for name in self._flat], default=0)
        return _Row(instance, label, values, length, full)

    def _label_fault(self, told: Any, label: int, name: str) -> str:
        may_be = schema.class_name(self._labels, name)
        return schema.label_fault(told, label, len(self._work.label2id), may_be)

    def _write(self, rows: Sequence[_Row], stream: pa.RecordBatchStreamWriter) -> None:
        def quarantine_row(row: _Row, error: Exception) -> None:
            self._set_aside(error, row.instance)

        tallies = self._shard.tallies
        for some, table in in_halves(rows, self._table, quarantine_row):
            stream.write_table(table, ROWS_WRITTEN)
            self._shard.rows += len(some)
            for row in some:
                label = row.instance.label
                if label not in tallies:
                    tallies[label] = Tally()
                tallies[label].add(row.length, row.full_length)

    def _table(self, rows: Sequence[_Row]) -> pa.Table:
        import pyarrow as pa

        ours: Mapping[str, list[Any]] = {
            schema.LABELS: [row.label for row in rows],
            schema.ARTIFACT_ID: [row.instance.id for row in rows],
            schema.LENGTH: [row.length for row in rows],
        }
        arrays = self._columns.arrays([row.values for row in rows])
        for name, values in ours.items():
            arrays[name] = pa.array(values, self._schema.field(name).type)
        return pa.Table.from_arrays([arrays[n] for n in self._schema.names], schema=self._schema)

    def _set_aside(self, error: BaseException, instance: Instance) -> None:
        lost = Quarantined.by(error, instance.id, instance.label, self._hide)
        self._shard.quarantined.append(lost)


def _parse_full_length(full_length: Any) -> int:
    """How long an instance was, as a number of Python's own; ValueError if it is none."""
    value = full_length if type(full_length) is int else unwrap_value(full_length)
    if isinstance(value, int):
        return int(value)
    raise ValueError(f"full_length: expected an int, found {schema.shown(value)}")


def _describe_field_mismatch(wanted: frozenset[str], row: Mapping[str, Any]) -> str:
    missing = ", ".join(sorted(wanted - row.keys()))
    extra = ", ".join(sorted(map(str, row.keys() - wanted)))
    parts = [f"missing field {missing}"] if missing else []
    parts += [f"extra field {extra}"] if extra else []
    return f"{' and '.join(parts)}: it does not fit get_dataset_features"
