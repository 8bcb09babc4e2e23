"""The shards of one model: which artifacts are in which, and which the store has already.

A shard is a run of artifacts in the order of their ids, cut by their number and bytes alone, so
that neither the number of workers nor of machines changes anything. The first shards are small, so
that something is safe soon, and the last ones too, so that no worker is long at work alone.
`<number>.arrow` holds its rows and `<number>.json`, written after it, what became of the others.
They are kept under the fingerprint of what they were made from, until they are joined.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from handful import layout
from handful.errors import Absent, Damaged, StoreError
from handful.files import checksums
from handful.steps.prepare.encoding.encode import Shard
from handful.storage.base import Store

SIZE = 4096
"""Artifacts in a shard, at most."""
FEW = 16
"""Artifacts in a shard, at least."""
BYTES = 1 << 20
"""Of input files, after which a shard is full if it has `FEW` artifacts."""
LEAST = 1 << 16
"""Bytes of the first shard and of the last ones."""
TAPER = 4
"""A shard takes one part in so many of what is left."""
EACH = 64
"""Bytes that an instance counts for beside its files: it takes time, however small."""
_SENDERS = 4
_FEATURES = "features.json"
T = TypeVar("T")


def cut(things: Sequence[T], size_of: Callable[[T], int]) -> Iterator[tuple[T, ...]]:
    """Shards of things that are sorted by artifact id; `size_of` gives the bytes of one."""
    sizes = [size_of(thing) + EACH for thing in things]
    left, begin, number = sum(sizes), 0, 0
    while begin < len(things):
        room = min(BYTES, LEAST << min(number, 16), max(LEAST, left // TAPER))
        end, held = begin, 0
        while end < len(things) and end - begin < SIZE and (held < room or end - begin < FEW):
            held += sizes[end]
            end += 1
        yield tuple(things[begin:end])
        left, begin, number = left - held, end, number + 1


def _cut_by() -> str:
    """What decides the cut: shards of another cut do not fit in between."""
    return "-".join(map(str, (SIZE, FEW, BYTES, LEAST, TAPER, EACH)))


def _folder(encoded: str, fingerprint: str) -> str:
    return f"{encoded}/{layout.SHARDS}/{fingerprint[:16]}-{_cut_by()}"


def has_encoding_shards(store: Store, encoded: str, fingerprint: str) -> bool:
    """Are there shards that were made from that? `encoded`: the model's folder in the store."""
    return any(len(batch) for batch in store.list(f"{_folder(encoded, fingerprint)}/"))


class ShardStore:
    """One model's shards in the store, while it is being prepared."""

    def __init__(
        self, store: Store, encoded: str, fingerprint: str, scratch: Path, directory: Path
    ) -> None:
        """`encoded`: the model's folder in the store; `directory`: the experiment's."""
        self._store = store
        self._all = f"{encoded}/{layout.SHARDS}"
        self._folder = _folder(encoded, fingerprint)
        self.scratch = scratch / "shards" / encoded.rpartition("/")[2] / fingerprint
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._directory = str(directory)
        self._sums: dict[int, str] = {}
        self._sending: list[Future[None]] = []
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="handful-shards")

    def path(self, number: int) -> Path:
        """Where a worker writes a shard."""
        return self.scratch / f"{number:06d}.arrow"

    def features(self) -> dict[str, Any] | None:
        """The features that the shards here were encoded with; None before the first sample."""
        try:
            return self._marker(f"{self._folder}/{_FEATURES}")
        except Absent:
            return None

    def keep_features(self, features: Mapping[str, Any]) -> None:
        # Without a checksum in it: its members are the user's, of whatever name.
        self._store.write(f"{self._folder}/{_FEATURES}", json.dumps(dict(features)).encode())

    def finished(self) -> dict[int, Shard]:
        """The shards that are whole in the store. What has another fingerprint is removed."""
        sizes: dict[str, int] = {}
        stale = []
        for batch in self._store.list(f"{self._all}/"):
            for key, size in zip(
                batch.column("key").to_pylist(), batch.column("size").to_pylist(), strict=True
            ):
                if key.startswith(f"{self._folder}/"):
                    sizes[key] = size
                else:
                    stale.append(key)
        self._store.delete(stale)
        found = {}
        for key in sizes:
            number = key.removeprefix(f"{self._folder}/").removesuffix(".json")
            if key.endswith(".json") and number.isdigit():
                with suppress(Damaged):  # it is encoded once more
                    marker = self._marker(key)
                    if sizes.get(self._key(int(number), "arrow")) == marker["bytes"]:
                        found[int(number)] = Shard.from_json(marker["shard"])
                        self._sums[int(number)] = marker.get("sha256", "")
        return found

    def keep(self, number: int, shard: Shard) -> None:
        """Send a shard on its way; an error of an earlier one is raised here."""
        for sent in [one for one in self._sending if one.done()]:
            self._sending.remove(sent)
            sent.result()
        self._sending.append(self._senders.submit(self._send, number, shard))

    def settle(self) -> None:
        """Wait until all that was kept is in the store. Raises what the store raised."""
        for sent in self._sending:
            sent.result()
        self._sending.clear()

    def close(self) -> None:
        """Stop sending; what is under way ends first."""
        self._senders.shutdown(cancel_futures=True)

    def local(self, number: int) -> Path:
        """A shard's Arrow file on this machine."""
        path = self.path(number)
        if path.exists():
            return path
        key = self._key(number, "arrow")
        place = self._store.path(key)
        if not isinstance(place, Path):
            self._store.fetch(key, path)
            place = path
        expected = self._sums.get(number)
        if expected and checksums.of_file(place).sha256 != expected:
            raise self._build_shard_error(key, "its content is not what was written (SHA-256)")
        return place

    def remove(self) -> None:
        """Remove all of the model's shards, here and in the store."""
        self._store.delete_tree(self._all)
        for path in self.scratch.glob("*.arrow"):
            path.unlink()

    def _send(self, number: int, shard: Shard) -> None:
        path = self.path(number)
        size, digest = checksums.of_file(path)
        marker = {"bytes": size, "sha256": digest, "shard": shard.to_json()}
        try:
            self._store.send(path, self._key(number, "arrow"))
            told = checksums.seal(json.dumps(marker).encode())
            self._store.write(self._key(number, "json"), told)
        except StoreError as error:
            error.add_note(f"while shard {number} was sent to {self._store.url}/{self._folder}")
            raise

    def _marker(self, key: str) -> dict[str, Any]:
        """What stands at `key`; `Damaged` if that is not whole."""
        data = self._store.read(key)
        if fault := checksums.fault_of_json(data):
            raise self._build_shard_error(key, fault)
        found: dict[str, Any] = json.loads(data)
        return found

    def _build_shard_error(self, key: str, what: str) -> Damaged:
        remedy = layout.remedy_for(key, self._directory)
        return Damaged(f"is damaged: {what}", where=f"{self._store.url}/{key}", remedy=remedy)

    def _key(self, number: int, kind: str) -> str:
        return f"{self._folder}/{number:06d}.{kind}"
