"""Joins shards to the datasets of the splits, which plain `datasets.load_from_disk` opens.

One pass over the shards, a few thousand rows at a time, so memory does not grow with the dataset.
The folders are written as `Dataset.save_to_disk` does (Arrow streams, dataset_info.json,
state.json), except that a split without rows gets an Arrow file of its own, without which
`load_from_disk` fails. It looks into a folder only if state.json is there: that is the marker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.steps.prepare.encoding.lengths import Lengths
from handful.steps.prepare.encoding.schema import ARTIFACT_ID
from handful.steps.prepare.splitting.splits import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa

MARKER = "state.json"
_ROWS_PER_BATCH = 1000
_BYTES_PER_BATCH = 64 << 20
_LARGEST_FILE = 500 << 20
"""Bytes of rows after which the next Arrow file is begun, as `save_to_disk` does."""
_ARROW_HASH_BLOCK_BYTES = 1 << 20


def join(
    shards: Iterable[Path], features: Mapping[str, Any], split_of: Mapping[str, str], folder: Path
) -> dict[str, SplitFolder]:
    """Write the folder of each split below `folder`, from the shards in their order."""
    import datasets
    import pyarrow as pa

    whole = datasets.Features.from_dict(dict(features))
    folders = {split: SplitFolder(folder / split, whole) for split in SPLITS}
    for path in shards:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                _add_batch_to_splits(batch, split_of, folders)
    for one in folders.values():
        one.finish()
    return folders


def _add_batch_to_splits(
    batch: pa.RecordBatch, split_of: Mapping[str, str], folders: Mapping[str, SplitFolder]
) -> None:
    import pyarrow as pa

    splits = [split_of[artifact_id] for artifact_id in batch.column(ARTIFACT_ID).to_pylist()]
    for split in dict.fromkeys(splits):
        places = [place for place, other in enumerate(splits) if other == split]
        folders[split].add(pa.Table.from_batches([batch]).take(places))


@dataclass
class _Features:
    """A mapping that `asdict` takes apart, and leaves so."""

    of: dict[str, Any]


class SplitFolder:
    """The folder of one split, while it is written."""

    def __init__(self, path: Path, features: Any) -> None:
        self.path = path
        self.rows = 0
        self._features = features
        self._waiting: list[pa.Table] = []
        self._files: list[Path] = []
        self._writer: Any = None
        self._bytes = 0
        self.lengths = Lengths()
        path.mkdir(parents=True)

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        self.lengths.add(table)
        self._waiting.append(table)
        rows = sum(one.num_rows for one in self._waiting)
        if rows >= _ROWS_PER_BATCH or sum(one.nbytes for one in self._waiting) >= _BYTES_PER_BATCH:
            self._flush()

    def finish(self) -> None:
        """Close the Arrow files, and write what makes a dataset of them."""
        self._flush()
        if not self._files:
            self._begin()
        self._close()
        names = []
        for number, path in enumerate(self._files):
            names.append(f"data-{number:05d}-of-{len(self._files):05d}.arrow")
            path.rename(self.path / names[-1])
        self._write_json("dataset_info.json", self._info())
        self._write_json(MARKER, self._state(names))

    def hash(self) -> str:
        """sha256 over the Arrow files. They hold no time and no path: the same rows, the same."""
        digest = hashlib.sha256()
        for path in sorted(self.path.glob("*.arrow")):
            with path.open("rb") as file:
                while block := file.read(_ARROW_HASH_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        if self._writer is None or self._bytes > _LARGEST_FILE:
            self._begin()
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting.clear()
        self._bytes += table.nbytes
        self._writer.write_table(table.cast(self._writer_schema()))

    def _begin(self) -> None:
        import pyarrow as pa

        self._close()
        self._files.append(self.path / f"part-{len(self._files)}")
        self._writer = pa.ipc.new_stream(str(self._files[-1]), self._writer_schema())
        self._bytes = 0

    def _writer_schema(self) -> pa.Schema:
        return self._features.arrow_schema

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _info(self) -> dict[str, Any]:
        import datasets

        # `asdict` of all of it takes Features apart and puts them together again, whereby a list
        # of class names becomes a List of them.
        info = asdict(datasets.DatasetInfo())
        info["features"] = asdict(_Features(dict(self._features)))["of"]
        return {key: info[key] for key in sorted(info)}

    def _state(self, names: list[str]) -> dict[str, Any]:
        return {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": self.hash()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self.path.name,
        }

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
