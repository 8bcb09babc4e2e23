"""What chaos holds a store against, and what it draws (`make chaos` plays it)."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter

import pytest

from handful.files import checksums
from handful.system.machine import this_process
from tests.chaos.equal import REPORT, differences, without_locks
from tests.chaos.rounds import DEPTHS, KINDS, OUTPUTS, STEPS, draw

RECORD = "data/prepared_data/full_dataset/prepared.json"
SPLITS = "data/prepared_data/full_dataset/splits.parquet"
BOTH = ("local", "s3")


def store(*, seconds: float = 1.5, rows: int = 3, splits: bytes = b"PAR1") -> dict[str, bytes]:
    told = {
        "finished_at": f"2026-01-01T00:00:{seconds:04.1f}",
        "seconds": seconds,
        "rows": {"model": {"train": rows}},
        "files": {SPLITS: (len(splits), hashlib.sha256(splits).hexdigest())},
    }
    return {
        RECORD: checksums.seal(json.dumps(told, indent=2).encode()),
        SPLITS: splits,
        REPORT: f"<td>{seconds} s</td><td>{rows:x}</td>".encode(),
    }


def test_a_store_that_took_other_seconds_is_the_same() -> None:
    assert differences(store(seconds=2.25), store()) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (store(seconds=2.0, rows=4), "other: data/prepared_data/full_dataset/prepared.json: rows"),
        (store(splits=b"PAR2"), f"other bytes: {SPLITS}"),
        ({**store(seconds=2.0), SPLITS: b"PAR2"}, f"not what {RECORD} says: {SPLITS}"),
        ({**store(), RECORD: store()[RECORD].replace(b'"train": 3', b'"train": 4')}, "damaged: "),
        ({**store(), RECORD: b'{"rows": {}}'}, f"less: {RECORD}: seconds"),
        ({**store(), REPORT: b"<td>1.5 s</td><td>cat</td>"}, f"other words: {REPORT}"),
        ({**store(), ".handful-tmp/a.part": b""}, "left behind: .handful-tmp/a.part"),
        ({k: v for k, v in store().items() if k != SPLITS}, f"missing: {SPLITS}"),
    ],
)
def test_what_is_not_as_it_was_is_told(found: dict[str, bytes], words: str) -> None:
    told = differences(found, store())
    assert any(line.startswith(words) for line in told), told


def test_a_lock_counts_that_keeps_somebody_out() -> None:
    me = this_process()
    held = {"token": "a", "process": {"pid": me.pid, "machine": "elsewhere", "started": me.started}}
    free = {"token": "", "process": {**held["process"], "started": "released"}}  # type: ignore[dict-item]
    files = {"results/full_dataset/lock/000001.json": json.dumps(free).encode()}
    assert without_locks(files) == {}
    files = {"results/full_dataset/lock/000001.json": json.dumps(held).encode()}
    assert without_locks(files) == files


def test_a_seed_is_a_round() -> None:
    for seed in range(50):
        assert draw(seed, KINDS, BOTH) == draw(seed, KINDS, BOTH)


def test_every_kind_step_and_state_is_drawn() -> None:
    chance = random.Random(0)
    rounds = [draw(chance.getrandbits(32), KINDS, BOTH) for _ in range(2000)]
    assert Counter(r.step for r in rounds).keys() == set(STEPS)
    assert Counter(r.depth for r in rounds).keys() == set(DEPTHS)
    assert {(r.store, one.kind) for r in rounds for one in r.disturbances} == {
        (name, kind) for name in BOTH for kind in KINDS if (name, kind) != ("local", "fault")
    }
    for one in rounds:
        gone = [key for keys in OUTPUTS.values() for key in keys if one.is_gone(key)]
        assert one.depth == "marker" or gone
