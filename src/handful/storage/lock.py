"""One at a time: a lock that is a file of the store, and outlives nobody for long.

    <folder>/000007.json    who holds it, since when, and when it was last renewed

Whoever creates the next number holds the lock: `Store.create` has one winner on every store (see
`handful.storage.claims` for servers without conditional puts). The holder renews its file every
`BEAT` seconds and removes it at the end. A holder that died on this machine is known at once by
its process; one elsewhere counts as dead when its file has not changed for `EXPIRES` seconds, as
seen from here, so that clocks that disagree do no harm. Its successor creates the number above,
looks again whether the dead one stayed dead, and removes what is below.

A holder that stood still for so long finds the number above its own when it wakes up. From then
on its store refuses to write (see `handful.storage.guarded`).
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from handful.errors import Absent, StepError, StoreError
from handful.machine import ProcessIdentity, is_alive, this_process
from handful.storage.base import Store

BEAT = 10.0
"""Seconds between two renewals."""
EXPIRES = 90.0
"""Seconds without a renewal after which a holder counts as dead.

Longer than a store that goes away is waited for, and a beat: no lock is lost over what is ridden
out (see `retry.WAIT_FOR_KNOWN`).
"""
_LOOK = 0.5
_TRIES = 5


@dataclass(frozen=True)
class Holder:
    """The content of the lock's file."""

    token: str
    doing: str
    host: str
    process: ProcessIdentity
    since: str
    beat: str
    """ISO 8601, UTC: when it was last renewed, by the holder's clock."""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode()

    @staticmethod
    def from_json(data: bytes) -> Holder:
        raw = json.loads(data)
        return Holder(**{**raw, "process": ProcessIdentity(**raw["process"])})

    def __str__(self) -> str:
        return f"{self.doing} by process {self.process.pid} on {self.host} since {self.since}"


class Locked(StepError):
    """Somebody else holds the lock."""


class Held:
    """The lock in our hands. `check` raises `Locked` once somebody else has taken it."""

    def __init__(self, store: Store, folder: str, number: int, holder: Holder) -> None:
        self._store = store
        self._folder = folder
        self._number = number
        self._holder = holder
        self._lost: str | None = None
        self._renewed = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="handful-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """`Locked` if this process may no longer write."""
        if self._lost is None and time.monotonic() - self._renewed > EXPIRES - BEAT:
            self._renew()  # the machine slept, or the store did not answer
        if self._lost is not None:
            raise Locked(
                f"the lock was lost: {self._lost}",
                where=f"{self._store.url}/{self._folder}",
                remedy="what was done so far is kept; run the same command again",
            )

    def release(self) -> None:
        """Let go; what cannot be removed expires by itself."""
        self._end.set()
        self._thread.join()
        # A lost one, too: renewing may have brought back the file that the taker removed.
        with suppress(StoreError):
            self._store.delete([_key(self._folder, self._number)])

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            self._renew()

    def _renew(self) -> None:
        try:
            if (above := _highest(self._store, self._folder)) > self._number:
                taker = _read(self._store, self._folder, above)
                self._lost = f"taken over for {taker or 'somebody who has ended'}"
                return
            self._store.write(
                _key(self._folder, self._number), replace(self._holder, beat=_now()).to_json()
            )
            self._renewed = time.monotonic()
        except StoreError as error:
            if time.monotonic() - self._renewed > EXPIRES - BEAT:
                self._lost = f"it could not be renewed for {EXPIRES - BEAT:.0f} s ({error})"


@contextmanager
def locked(store: Store, folder: str, doing: str) -> Iterator[Held]:
    """Hold the lock `folder` of `store` during the body.

    `doing` is told to whoever comes second, who gets `Locked`.
    """
    held = _acquire(store, folder, doing)
    try:
        yield held
    finally:
        held.release()


def holders(store: Store, prefix: str) -> list[Holder]:
    """Whoever stands in the locks whose folders begin with `prefix`, dead or alive; only reads."""
    highest: dict[str, int] = {}
    for batch in store.list(prefix):
        for key in batch.column("key").to_pylist():
            folder, _, name = key.rpartition("/")
            number = name.removesuffix(".json")
            if number.isascii() and number.isdigit():
                highest[folder] = max(highest.get(folder, 0), int(number))
    found = [_read(store, folder, number) for folder, number in sorted(highest.items())]
    return [one for one in found if one is not None]  # one may have been released meanwhile


def _acquire(store: Store, folder: str, doing: str) -> Held:
    token = secrets.token_hex(16)
    with ThreadPoolExecutor(1) as other:  # a distant store answers each question after a while
        ready = other.submit(store.expect_create)
        number = _highest(store, folder)
        ready.result()
    for tries in range(_TRIES):
        number, dead = _highest(store, folder) if tries else number, None
        if number:
            dead = _read(store, folder, number)
            if dead is None:
                continue  # it was released while we looked
            if not _is_dead(store, folder, number, dead):
                raise _locked(store, folder, dead)
        now = _now()
        mine = Holder(token, doing, socket.gethostname(), this_process(), now, now)
        if (numbers := _took(store, folder, number + 1, mine, dead)) is not None:
            store.delete([_key(folder, n) for n in numbers if n <= number])
            return Held(store, folder, number + 1, mine)
    raise Locked(
        "others were taking the lock at the same moment",
        where=f"{store.url}/{folder}",
        remedy="try again",
    )


def _took(
    store: Store, folder: str, number: int, mine: Holder, dead: Holder | None
) -> list[int] | None:
    """Create the file, then look whether what it was decided on still stands.

    The numbers that were there then; None if it does not stand.
    """
    key = _key(folder, number)
    if not store.create(key, mine.to_json()):
        found = _read(store, folder, number)
        if found is None or found.token != mine.token:  # else only the answer was lost
            return None
    below = _read(store, folder, number - 1) if dead else None
    woke_up = below is not None and below != dead
    numbers = _numbers(store, folder)
    if max(numbers, default=0) == number and not woke_up:
        return numbers
    store.delete([key])
    return None


def _is_dead(store: Store, folder: str, number: int, holder: Holder) -> bool:
    """Known at once on this machine; elsewhere its file is watched, for as long as it takes."""
    alive = is_alive(holder.process)
    if alive is not None:
        return not alive
    silent = (datetime.now(UTC) - datetime.fromisoformat(holder.beat)).total_seconds()
    if abs(silent) < 2 * BEAT:
        return False
    # By this machine's clock it is late. Clocks may disagree, so its silence is heard out.
    until = time.monotonic() + (2 * BEAT + 1 if silent > EXPIRES else EXPIRES)
    while time.monotonic() < until:
        if _read(store, folder, number) != holder:
            return False
        time.sleep(_LOOK)
    return True


def _locked(store: Store, folder: str, holder: Holder) -> Locked:
    return Locked(
        f"one at a time: {holder} is at work (last heard of at {holder.beat})",
        where=f"{store.url}/{folder}",
        remedy=f"wait for it; should it be dead, its lock expires after {EXPIRES:.0f} s of silence",
    )


def _highest(store: Store, folder: str) -> int:
    return max(_numbers(store, folder), default=0)


def _numbers(store: Store, folder: str) -> list[int]:
    names = [
        key.rsplit("/", 1)[-1].removesuffix(".json")
        for batch in store.list(f"{folder}/")
        for key in batch.column("key").to_pylist()
    ]
    return [int(name) for name in names if name.isascii() and name.isdigit()]


def _key(folder: str, number: int) -> str:
    return f"{folder}/{number:06d}.json"


def _read(store: Store, folder: str, number: int) -> Holder | None:
    key = _key(folder, number)
    try:
        return Holder.from_json(store.read(key))
    except Absent:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            "this is no lock of handful's",
            where=f"{store.url}/{key}",
            remedy="remove it if no other handful is at work on this experiment",
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
