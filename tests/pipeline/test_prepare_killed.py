"""prepare, killed at any moment, or left by its store: run again, it is as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from handful.errors import Unreachable
from handful.steps.prepare.encoding import shards
from handful.storage.s3 import clients
from tests.support.faults import Request, faulty
from tests.support.preparing import FUNCTIONS, Bench, bench
from tests.support.servers import S3Server

COUNT, SHARD = 80, 4
RUN = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.support.preparing import Bench
from handful.steps.prepare.encoding import shards
shards.SIZE = {size}
made = Bench(Path({root!r}))
made.fill({count})
made.prepare(prepare_NUM_PROCESSES=2)
"""
SLOW = FUNCTIONS.replace(
    "def encode_data(instance):\n",
    "def encode_data(instance):\n    import time; time.sleep(0.02)\n",
)
"""Slow enough that most kills find shards in the making."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", SHARD)


def start(made: Bench) -> subprocess.Popen[bytes]:
    script = RUN.format(
        path=[str(Path(__file__).parents[2])], root=str(made.root), count=COUNT, size=SHARD
    )
    return subprocess.Popen([sys.executable, "-c", script], start_new_session=True)


def finished(made: Bench) -> set[str]:
    """The shards whose markers stand."""
    return {path.name for path in made.prepared.glob("tiny/shards/*/0*.json")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed run leaves."""
    made = bench(tmp_path_factory.mktemp("straight"), COUNT, SLOW)
    assert start(made).wait() == 0
    return made.bytes()


def kill(made: Bench, number: int, seconds: float) -> bool:
    """Kill a run so long after so many shards stood; False if it had ended by then."""
    process = start(made)
    try:
        while process.poll() is None and len(finished(made)) < number:
            time.sleep(0.005)
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.parametrize(
    "kills", [4, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(
    tmp_path: Path, straight: dict[str, str], kills: int
) -> None:
    moments = random.Random(os.environ.get("HANDFUL_TEST_SEED", "1"))
    killed, midway, runs = 0, 0, 0
    while killed < kills:
        runs += 1
        made = bench(tmp_path / f"run-{runs}", COUNT, SLOW)
        before: set[str] = set()
        for _ in range(4):
            number = moments.randint(len(before), COUNT // SHARD)
            if not kill(made, number, moments.uniform(0, 0.3)):
                break
            killed += 1
            here = finished(made)
            if not (made.prepared / "tiny/test").exists():
                assert before <= here, "a finished shard was lost"
                midway += 0 < len(here) < COUNT // SHARD
            before = here
        assert start(made).wait() == 0
        assert made.bytes() == straight
    print(f"{killed} kills in {runs} runs, {midway} of them while shards were being made")
    assert midway


@pytest.fixture
def away(s3_server: S3Server) -> Iterator[tuple[str, set[str]]]:
    """A way to the store, and a switch: while "away" is in the set, connections break."""
    switch: set[str] = set()

    def rule(request: Request) -> str:
        return "reset" if "away" in switch else "pass"

    with faulty(s3_server.endpoint_url, rule) as between:
        yield between.endpoint_url, switch


@pytest.mark.slow
def test_a_store_that_goes_away_costs_no_finished_shard(
    tmp_path: Path, s3_server: S3Server, away: tuple[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while of silence it gives up and says so; run again, it goes on.

    It is more than a minute (`storage.retry`); eight seconds of it tell the same.
    """
    monkeypatch.setattr(clients, "WAIT_FOR_KNOWN", timedelta(seconds=8))
    endpoint_url, switch = away
    expected = bench(tmp_path / "near", COUNT).prepare()
    made = Bench(tmp_path / "far", url=s3_server.place(), endpoint_url=endpoint_url)
    made.settings()
    made.functions(FUNCTIONS)
    made.fill(COUNT)
    sent = shards.ShardStore._send

    def send(self: shards.ShardStore, number: int, shard: object) -> None:
        if number == 10:
            switch.add("away")
        sent(self, number, shard)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardStore, "_send", send)
        began = time.monotonic()
        with pytest.raises(Unreachable) as lost:
            made.prepare()
        seconds = time.monotonic() - began
    print(f"it gave up after {seconds:.0f} s: {lost.value}")
    assert 7 < seconds < 40
    assert any("while shard" in note for note in lost.value.__notes__)
    switch.clear()
    record = made.prepare()
    [found] = [note for note in made.told.notes if "were encoded before" in note]
    print(found)
    assert int(found.split()[1]) >= 8
    assert record.data_hash == expected.data_hash
    assert record.splits_hash == expected.splits_hash


@pytest.mark.parametrize(
    "seconds", [5, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
@pytest.mark.slow
def test_a_store_that_is_away_for_so_long_is_waited_for(
    tmp_path: Path,
    s3_server: S3Server,
    away: tuple[str, set[str]],
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
) -> None:
    endpoint_url, switch = away
    expected = bench(tmp_path / "near", 12).prepare()
    made = Bench(tmp_path / "far", url=s3_server.place(), endpoint_url=endpoint_url)
    made.settings()
    made.functions(FUNCTIONS)
    made.fill(12)
    sent = shards.ShardStore._send

    def send(self: shards.ShardStore, number: int, shard: object) -> None:
        if number == 1:
            switch.add("away")
            threading.Timer(seconds, switch.clear).start()
        sent(self, number, shard)  # type: ignore[arg-type]

    monkeypatch.setattr(shards.ShardStore, "_send", send)
    began = time.monotonic()
    assert made.prepare().data_hash == expected.data_hash
    took = time.monotonic() - began
    print(f"the store was away for {seconds} s; the run ended well after {took:.0f} s")
    assert took > seconds
