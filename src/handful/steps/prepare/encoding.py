"""Encodes instances with the user's `encode_data`, in a worker.

A shard is encoded the library's own way: `Dataset.from_dict(…).map(…, batched=True, features=…,
remove_columns=…)`, whose cache file is the shard. What `map` lacks is done inside the function that
it is given: an instance that fails is quarantined, and only that one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from handful.functions import Encoded
from handful.steps.prepare import schema, truncation
from handful.steps.prepare.calling import Answer, Caller, Encoding
from handful.steps.prepare.glance import glance
from handful.steps.prepare.instance import Instance
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.truncation import Tallies, Tally
from handful.steps.prepare.work import Desk

BATCH = 64
"""Instances that a @batched `encode_data` is given at once."""
ROWS = 1024
"""Rows of one Arrow batch."""


@dataclass(frozen=True, kw_only=True)
class EncodeShard(Encoding):
    """One shard, to be written to the Arrow file `path`."""

    number: int
    features: Mapping[str, Any]
    path: Path

    def do(self, desk: Desk) -> Shard:
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


class _ShardEncoder:
    """Encodes one shard to its Arrow file."""

    def __init__(self, desk: Desk, work: EncodeShard) -> None:
        import datasets

        self._work = work
        self._caller = Caller(desk, work)
        self._features = datasets.Features.from_dict(dict(work.features))
        self._flat = schema.flat_fields(self._features)
        self._wanted = frozenset(self._features) - {schema.ARTIFACT_ID, schema.LENGTH}
        self._glances = [
            (name, glance(self._features[name])) for name in sorted(self._wanted - {schema.LABELS})
        ]

    def run(self) -> Shard:
        import pyarrow as pa

        try:
            shard, nulls = self._mapped(probe=False)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            nulls = True
        if nulls:
            # Some row does not fit the features. Find which, and quarantine it alone.
            shard, _ = self._mapped(probe=True)
        return shard

    def _mapped(self, *, probe: bool) -> tuple[Shard, bool]:
        """The shard, and whether some value in it is missing: Arrow takes None for anything."""
        work = self._work
        shard = Shard(quarantined=list(work.set_aside.values()))

        def encode(batch: Mapping[str, list[int]]) -> dict[str, list[Any]]:
            rows = list(self._rows(batch["position"], shard, probe))
            shard.rows += len(rows)
            return {name: [row[name] for row in rows] for name in self._features}

        positions = _positions(len(work.instances))
        work.path.unlink(missing_ok=True)
        rows = positions.map(
            encode,
            batched=True,
            batch_size=ROWS,
            features=self._features,
            remove_columns=positions.column_names,
            cache_file_name=str(work.path),
            load_from_cache_file=False,
            new_fingerprint=f"{work.number:016x}",
        )
        shard.quarantined.sort(key=lambda one: one.artifact_id)
        return shard, any(schema.has_nulls(column) for column in rows.data.table.columns)

    def _rows(
        self, positions: Sequence[int], shard: Shard, probe: bool
    ) -> Iterator[dict[str, Any]]:
        tallies = shard.tallies
        for instance, answer in self._caller.answers(positions, BATCH):
            try:
                if isinstance(answer, BaseException):
                    raise answer
                row = self._row(instance, answer)
                if probe and row is not None:
                    self._probe(row)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it costs the instance
                shard.quarantined.append(Quarantined.by(error, instance.id, instance.label))
                continue
            if row is None:
                shard.left_out.append(instance.id)
                continue
            full = answer.full_length if isinstance(answer, Encoded) else None
            if instance.label not in tallies:
                tallies[instance.label] = Tally()
            tallies[instance.label].add(row[schema.LENGTH], full)
            yield row

    def _row(self, instance: Instance, answer: Answer) -> dict[str, Any] | None:
        """One row as it is saved; ValueError if it cannot be one."""
        encoded = answer.features if isinstance(answer, Encoded) else answer
        if encoded is None:
            return None
        if type(encoded) is not dict and not isinstance(encoded, Mapping):
            raise TypeError(f"encode_data returned {type(encoded).__name__}, not a dict or None")
        row = dict(encoded)
        label = self._work.label2id[instance.label]
        told = row.setdefault(schema.LABELS, label)
        fault = told is not label and schema.label_fault(told, label, len(self._work.label2id))
        if fault:
            raise ValueError(f"field labels: expected {label} ({instance.label!r}), found {fault}")
        if row.keys() != self._wanted:
            raise ValueError(_told_apart(self._wanted, row))
        for name, looks_right in self._glances:
            if not looks_right(row[name]):
                self._check(name, row[name])
        row[schema.LABELS] = label
        row[schema.LENGTH] = max([len(row[name]) for name in self._flat], default=0)
        row[schema.ARTIFACT_ID] = instance.id
        return row

    def _check(self, name: str, value: Any) -> None:
        """ValueError if the field cannot hold the value, which Arrow might bend until it fits."""
        feature = self._features[name]
        fault = schema.misfit(feature, schema.plain(value))
        if fault:
            raise ValueError(f"field {name}: expected {schema.described(feature)}, found {fault}")

    def _probe(self, row: Mapping[str, Any]) -> None:
        """Look at every value of this row, and raise what Arrow raises for it."""
        import datasets

        for name, _ in self._glances:
            self._check(name, row[name])
        datasets.Dataset.from_dict({k: [v] for k, v in row.items()}, features=self._features)


@functools.lru_cache(maxsize=4)
def _positions(count: int) -> Any:
    """The numbers up to `count` as a Dataset: most shards have the same, and it takes a while."""
    import datasets

    return datasets.Dataset.from_dict({"position": range(count)})


def _told_apart(wanted: frozenset[str], row: Mapping[str, Any]) -> str:
    missing = ", ".join(sorted(wanted - row.keys()))
    extra = ", ".join(sorted(map(str, row.keys() - wanted)))
    parts = [f"missing field {missing}"] if missing else []
    parts += [f"extra field {extra}"] if extra else []
    return f"{' and '.join(parts)}: it does not fit get_dataset_features"
