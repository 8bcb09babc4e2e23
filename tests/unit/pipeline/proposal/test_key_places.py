"""Texts of the keys that may be ids; and sampling, however slow the source is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import cast

import pyarrow as pa
import pytest

from handful.errors import Unreachable
from handful.pipeline.proposal.findings import Deadline, SampledKeys
from handful.pipeline.proposal.key_places import pieces_of, sample_keys
from handful.progress import Silent
from handful.storage.base import Source
from handful.storage.columns import LISTING_SCHEMA
from handful.storage.sampling import KeyCollector
from tests.support.key_layouts import LAYOUTS, Layout, guid
from tests.support.progress import Recording


def sample_of(keys: list[str]) -> SampledKeys:
    return SampledKeys(tuple(sorted(keys)), (9,) * len(keys), True)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_true_ids_are_among_the_first_pieces(layout: Layout) -> None:
    artifacts = layout.artifacts(500)
    keys = sorted({key for _, made in artifacts for key in made})
    pieces = pieces_of(sample_of(keys))
    ids = {one.lower().replace("-", "") if layout.fold else one for one, _ in artifacts}

    def share(values: tuple[str, ...]) -> float:
        spelled = [v.lower().replace("-", "") if layout.fold else v for v in values]
        return sum(one in ids for one in spelled) / len(spelled)

    assert any(share(piece.values) > 0.95 for piece in pieces[:8]), [p.place for p in pieces]
    assert all(1 <= len(piece.values) <= 200 for piece in pieces)
    assert all(len(set(piece.values)) == len(piece.values) for piece in pieces)
    assert len(pieces) <= 24


def test_guids_come_first_whatever_is_around_them() -> None:
    random = Random(0)
    keys = [f"x/{n:05}-{guid(random)}-v{n % 3}/{n}.txt" for n in range(300)]
    first = pieces_of(sample_of(keys))[0]
    assert first.place == "the GUID in folder 2"
    assert len(first.values) == 200


@pytest.mark.parametrize(
    "folder",
    [
        "2024/05/{d:02}",
        "2024-05-{d:02}",
        "202405{d:02}",
        "year=2024/month=05/day={d:02}",
        "{d:02}-2024",
    ],
)
def test_dates_are_no_ids(folder: str) -> None:
    keys = [f"{folder.format(d=1 + n % 28)}/{n:07x}/text.txt" for n in range(2_000)]
    for piece in pieces_of(sample_of(keys)):
        assert not any(value.startswith(("2024", "year", "day")) for value in piece.values)


def test_words_and_few_values_are_no_ids() -> None:
    keys = [f"{['acme', 'globex'][n % 2]}/{n:06}/raw_text.json" for n in range(2_000)]
    values = {value for piece in pieces_of(sample_of(keys)) for value in piece.values}
    assert not values & {"acme", "globex", "raw_text", "raw", "text"}


def test_no_keys_no_pieces() -> None:
    assert pieces_of(sample_of([])) == ()


def test_hostile_keys_are_harmless() -> None:
    keys = ["/".join(["a"] * 300), "-" * 900, "a" * 1_000, "é\u202e/\U0001f600", ".", "_", "..a"]
    for piece in pieces_of(sample_of(keys)):
        assert all(piece.values)


class SlowSource:
    """A source that gives a batch now and then, and cannot be sampled."""

    url = "slow"

    def __init__(self, seconds: float, batches: int = 1_000) -> None:
        self.seconds = seconds
        self.batches = batches

    def list(self, prefix: str = "", *, near: object = ()) -> Iterator[pa.RecordBatch]:
        for number in range(self.batches):
            time.sleep(self.seconds)
            rows = [
                {"key": f"{number}/{n}", "size": 3, "etag": "", "archived": None} for n in range(50)
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=LISTING_SCHEMA)


class SilentSource(SlowSource):
    """One that can be sampled, gives a little, and then nothing for long."""

    def sample(self, into: KeyCollector) -> None:
        into.add([("a/b.txt", 5)], begins=True, ends=False)
        time.sleep(30)


@pytest.mark.parametrize("kind", [SlowSource, SilentSource])
def test_the_deadline_is_kept(kind: type[SlowSource]) -> None:
    began = time.monotonic()
    found = sample_keys(cast(Source, kind(0.1)), Deadline.of(1.5), Silent())
    assert time.monotonic() - began < 3
    assert found.keys
    assert not found.is_all
    assert len(found.keys) == len(found.sizes)


def test_a_source_that_cannot_be_sampled_is_listed() -> None:
    found = sample_keys(cast(Source, SlowSource(0, 4)), Deadline.of(20), Silent())
    assert len(found.keys) == 200
    assert found.is_all
    part = sample_keys(cast(Source, SlowSource(0)), Deadline.of(20), Silent(), most=300)
    assert len(part.keys) == 300
    assert not part.is_all


def test_an_error_of_the_source_is_raised() -> None:
    class Broken(SlowSource):
        def sample(self, into: KeyCollector) -> None:
            raise Unreachable("nobody answers", where="there")

    with pytest.raises(Unreachable):
        sample_keys(cast(Source, Broken(0)), Deadline.of(5), Silent())


def test_how_far_it_has_come_is_told(tmp_path: Path) -> None:
    from handful.storage.open import open_source

    (tmp_path / "a.txt").write_bytes(b"x")
    progress = Recording()
    found = sample_keys(open_source(str(tmp_path)), Deadline.of(5), progress)
    assert found.keys == ("a.txt",)
    assert found.sizes == (1,)
