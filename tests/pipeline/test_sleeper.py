"""A driver that stood still past its lock's life: what it does when it wakes up.

Two real processes (three, with a worker) with identities of two machines: the sleeper stands still
at a chosen write, the taker takes the lock over, does the step to its end and leaves, and the
sleeper wakes up. It ends with 1, and what the taker has left is there to the byte. (Where its
record was there before it stood still, the taker finds nothing to do, and the sleeper ends with 0.)
Where no server honours conditions, and the sleeper stood between its last look and the put, only
the file of that put may be the sleeper's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.s3_servers import AnyServer
from tests.support.servers import S3Server
from tests.support.tiny import HANDFUL, Tiny, make

NAME = "EXP-0001-tiny"
RESULTS = "results/full_dataset"
SLEEPING = Path(__file__).parents[1] / "support" / "sleeping"
TUNE = "[tune]\nTRIALS = 1\nLEARNING_RATE = choice 1e-2 5e-3\n"
COMMITS: dict[str, tuple[str, ...]] = {
    "reconcile": ("data/reconciliation/reconciled.json",),
    "prepare": ("full_dataset/model/encoded.json", "full_dataset/prepared.json"),
    "tune": ("trial-0000/trial.json", f"{RESULTS}/tuned.json"),
    "train": ("final/handful.json", f"{RESULTS}/trained.json"),
    "test": ("evaluation/model/seed-0/metrics.json", f"{RESULTS}/tested.json"),
    "compare": (f"{RESULTS}/compared.json",),
    "report": (f"{RESULTS}/reported.json",),
}
"""What says that something is whole, by step."""
GONE = {
    "reconcile": ("data/reconciliation/reconciled.json",),
    "prepare": (
        "data/prepared_data/full_dataset/prepared.json",
        "data/prepared_data/full_dataset/model/encoded.json",
    ),
    "tune": (f"{RESULTS}/tuned.json", f"{RESULTS}/tuning"),
    "train": (f"{RESULTS}/trained.json", f"{RESULTS}/models"),
    "test": (f"{RESULTS}/tested.json",),
    "compare": (f"{RESULTS}/compared.json",),
    "report": (f"{RESULTS}/reported.json",),
}
"""Without these the step is to be done."""
SECONDS = 600
LOCKS_LIFE = 4.0
"""Seconds; see tests/support/sleeping."""
EVERY_STEP = ("--set", "train.CHECKPOINT_EVERY=1 steps")
FIRST = "before step-00000001-*/checkpoint.json"
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("finished"), artifacts=30)
    tiny.settings(EPOCHS="2")
    with (tiny.experiment / "settings.ini").open("a") as settings:
        settings.write(TUNE)
    done = tiny.handful("run")
    assert done.returncode == 0, done.stdout + done.stderr
    return tiny


@dataclass(frozen=True)
class Case:
    """An experiment of which a step is to be done, and where its store lies."""

    tiny: Tiny
    words: tuple[str, ...]
    contents: Callable[[], dict[str, str]]
    """Key → sha256 of all that stands in the store but the locks."""
    read: Callable[[str], bytes]

    def start(self, step: str, machine: str, at: str = "") -> subprocess.Popen[str]:
        # The copy's production lies elsewhere than the original's did.
        more = ["--refresh"] if step == "reconcile" else []
        paths = [str(SLEEPING), os.environ.get("PYTHONPATH", "")]
        env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "SLEEPER_MACHINE": machine,
            "SLEEPER_TOLD": str(self.told),
        }
        return subprocess.Popen(
            [HANDFUL, step, str(self.tiny.experiment), *self.words, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env | ({"SLEEPER_AT": at} if at else {}),
        )

    @property
    def told(self) -> Path:
        return self.tiny.root / "stands-still"


def local_case(finished: Tiny, root: Path, step: str) -> Case:
    tiny = Tiny(Path(shutil.copytree(finished.root, root / "copy")))
    for name in GONE[step]:
        path = tiny.store / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def contents() -> dict[str, str]:
        found = {
            path.relative_to(tiny.store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in tiny.store.rglob("*")
            if path.is_file()
        }
        return {key: value for key, value in found.items() if is_kept(key)}

    return Case(tiny, (), contents, lambda key: (tiny.store / key).read_bytes())


def s3_case(finished: Tiny, root: Path, step: str, server: S3Server) -> Case:
    case = local_case(finished, root, step)
    place, client = server.place(), server.client()
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    for path in case.tiny.store.rglob("*"):
        if path.is_file() and is_kept(path.relative_to(case.tiny.store).as_posix()):
            key = f"{prefix}/{NAME}/{path.relative_to(case.tiny.store).as_posix()}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    def contents() -> dict[str, str]:
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/{NAME}/"
        ):
            for one in page.get("Contents", []):
                key = one["Key"].removeprefix(f"{prefix}/{NAME}/")
                if is_kept(key):
                    body = client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
                    found[key] = hashlib.sha256(body).hexdigest()
        return found

    def read(key: str) -> bytes:
        found = client.get_object(Bucket=bucket, Key=f"{prefix}/{NAME}/{key}")
        return bytes(found["Body"].read())

    words = (f"experiment.STORE={place}", f"experiment.S3_ENDPOINT_URL={server.endpoint_url}")
    return Case(case.tiny, tuple(w for word in words for w in ("--set", word)), contents, read)


def is_kept(key: str) -> bool:
    return "/lock/" not in key and not key.startswith(".handful-tmp")


def stands_still(told: Path, driver: subprocess.Popen[str]) -> list[int]:
    """Wait until the chosen process stands still, stop its driver too, and wait for the end of its
    lock's life; the two of them."""
    until = time.monotonic() + SECONDS
    while not told.exists():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < until, "it never came to that write"
        time.sleep(0.05)
    pids = [int(told.read_text())]
    if pids[0] != driver.pid:
        os.kill(driver.pid, signal.SIGSTOP)
        pids.append(driver.pid)
    time.sleep(LOCKS_LIFE)  # on a quick machine the taker is there before
    return pids


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=SECONDS)[0]
    return process.returncode, said


def wake(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def sleep_and_be_taken(case: Case, step: str, at: str, free: str) -> None:
    """`free`: the one key of which the content does not count; empty: there is none."""
    sleeper = case.start(step, "one", at)
    try:
        pids = stands_still(case.told, sleeper)
        taker = ended(case.start(step, "other"))
        assert taker[0] == 0, taker[1]
        expected = case.contents()
        wake(pids)
        status, said = ended(sleeper)
    finally:
        sleeper.kill()
    if f"{step}: up to date" in taker[1]:  # the sleeper's record stood there: nobody took the lock
        assert at == f"after {COMMITS[step][-1]}", taker[1]
        assert status == 0, said
    else:
        assert status == 1, said
        assert "the lock was lost" in said, said
    found = case.contents()
    if free:
        found = {k: v for k, v in found.items() if not k.endswith(free)}
        expected = {k: v for k, v in expected.items() if not k.endswith(free)}
    assert found == expected


def cases(moments: tuple[str, ...], cheap: tuple[str, ...] = ()) -> list[object]:
    return [
        pytest.param(
            step,
            f"{moment} {end}",
            id=f"{step}-{moment}-{end.rsplit('/', 1)[-1]}",
            marks=[] if f"{step} {moment}" in cheap else [pytest.mark.slow],
        )
        for step, ends in COMMITS.items()
        for end in ends
        for moment in moments
    ]


@pytest.mark.parametrize(("step", "at"), cases(("before", "within", "after")))
def test_on_a_local_store(finished: Tiny, tmp_path: Path, step: str, at: str) -> None:
    sleep_and_be_taken(local_case(finished, tmp_path, step), step, at, "")


@pytest.mark.parametrize(("step", "at"), cases(("last",)))
def test_in_the_last_moment_of_a_local_write_nobody_can_take_the_lock(
    finished: Tiny, tmp_path: Path, step: str, at: str
) -> None:
    case = local_case(finished, tmp_path, step)
    sleeper = case.start(step, "one", at)
    try:
        pids = stands_still(case.told, sleeper)
        status, said = ended(case.start(step, "other"))
        assert status == 1, said
        assert "stands still in the middle of a write" in said
        wake(pids)
        status, said = ended(sleeper)
        assert status == 0, said
    finally:
        sleeper.kill()
    assert any(key.endswith(at.split(" ")[1]) for key in case.contents())


@pytest.mark.parametrize(("step", "at"), cases(("before", "within", "after")))
def test_on_a_server_that_honours_conditions(
    finished: Tiny, tmp_path: Path, s3_server: S3Server, step: str, at: str
) -> None:
    sleep_and_be_taken(s3_case(finished, tmp_path, step, s3_server), step, at, "")


@pytest.fixture
def careless(s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch) -> AnyServer:
    """A server that ignores conditions."""
    server = s3_servers("rclone-http")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.mark.parametrize(("step", "at"), cases(("before", "within", "after")))
def test_on_a_server_that_ignores_conditions(
    finished: Tiny, tmp_path: Path, careless: AnyServer, step: str, at: str
) -> None:
    moment, _, end = at.partition(" ")
    case = s3_case(finished, tmp_path, step, careless)
    sleep_and_be_taken(case, step, at, end if moment == "within" else "")


# --- a training: its worker and its checkpoints --------------------------------------------------


def final_is_whole(case: Case) -> bool:
    final = "results/full_dataset/models/model/seed-0/final"
    found = case.contents()
    record = json.loads(case.read(f"{final}/handful.json"))
    return found[f"{final}/model.safetensors"] == str(record["weights_hash"])


def wakes_while_the_taker_trains(case: Case) -> None:
    case = replace(case, words=(*case.words, *EVERY_STEP))
    sleeper = case.start("train", "one", FIRST)
    taker = None
    try:
        pids = stands_still(case.told, sleeper)
        (owner,) = [key for key in case.contents() if key.endswith("/owner.json")]
        before = case.read(owner)
        taker = case.start("train", "other")
        until = time.monotonic() + SECONDS
        while case.read(owner) == before:
            assert taker.poll() is None, taker.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        wake(pids)
        status, said = ended(sleeper)
        assert status == 1, said
        status, told = ended(taker)
        assert status == 0, told
    finally:
        for one in filter(None, (sleeper, taker)):
            one.kill()
    assert final_is_whole(case)
    assert not [key for key in case.contents() if "/step-" in key and "/checkpoints/" in key]


@pytest.mark.slow
def test_who_wakes_up_while_the_taker_trains(finished: Tiny, tmp_path: Path) -> None:
    wakes_while_the_taker_trains(local_case(finished, tmp_path, "train"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["honours", "ignores"])
def test_who_wakes_up_while_the_taker_trains_on_a_server(
    finished: Tiny, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("s3_server" if kind == "honours" else "careless")
    wakes_while_the_taker_trains(s3_case(finished, tmp_path, "train", server))


@pytest.mark.slow
def test_a_worker_stops_by_itself_while_its_driver_still_sleeps(
    finished: Tiny, tmp_path: Path
) -> None:
    case = local_case(finished, tmp_path, "train")
    case = replace(case, words=(*case.words, *EVERY_STEP))
    sleeper = case.start("train", "one", FIRST)
    try:
        worker, driver = stands_still(case.told, sleeper)
        status, said = ended(case.start("train", "other"))
        assert status == 0, said
        expected = case.contents()
        wake([worker])
        until = time.monotonic() + SECONDS
        while Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            assert time.monotonic() < until, "it goes on"
            time.sleep(0.05)
        assert case.contents() == expected
        wake([driver])
        status, said = ended(sleeper)
        assert status == 1, said
        assert case.contents() == expected
    finally:
        sleeper.kill()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_checkpoint(finished: Tiny, tmp_path: Path) -> None:
    case = local_case(finished, tmp_path, "train")
    case = replace(case, words=(*case.words, *EVERY_STEP))
    killed = case.start("train", "one", "before step-00000003-*/checkpoint.json")
    for pid in stands_still(case.told, killed):
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    status, said = ended(case.start("train", "one"))
    assert status == 0, said
    assert "goes on from the checkpoint of step 2 of" in said
    assert final_is_whole(case)
    assert not [key for key in case.contents() if "/checkpoints/" in key]
