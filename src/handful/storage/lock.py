"""One at a time: a lock that is a file of the store, and outlives nobody for long.

    <folder>/000007.json    who holds it, since when, and when it was last renewed

Whoever creates the next number holds the lock: `Store.create` has one winner on every store (see
`s3.create_fallback` for servers without conditional puts). The holder renews its file every
`BEAT` seconds and removes it at the end. A holder that died on this machine is known at once by
its process; one elsewhere counts as dead when its file has not changed for `EXPIRES` seconds, as
seen from here, so that clocks that disagree do no harm. Its successor creates the number above,
looks again whether the dead one stayed dead, and removes what is below.

A holder that stood still for so long (a suspended laptop) does not find its own token any more when
it wakes up, or a number above its own. From then on its store refuses to write, and so do the
stores of its workers, which carry the token too (see `Store.fenced`). Renewing never makes the file
again, but on a server that ignores conditions it might, in the moment between look and put. So a
number once taken from a silent holder stays used: at the end its file says that nobody holds it,
and whoever comes next counts on from there; a sleeper always finds it.

A build of format 1 that knows no tokens is as safe beside this one as it was beside its like: it
finds the number above its own, or no file to count on from; and takes over what says that nobody
holds it, since no process of that name runs.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from handful.errors import Absent, Locked, StoreError
from handful.storage.base import Store
from handful.system.machine import ProcessIdentity, is_alive, this_process

BEAT = 10.0
"""Seconds between two renewals."""
EXPIRES = 90.0
"""Seconds without a renewal after which a holder counts as dead.

Longer than a store that goes away is waited for, and a beat: no lock is lost over what is ridden
out (see `retry.WAIT_FOR_KNOWN`).
"""
_LOOK = 0.5
_LOCK_TRIES = 5
_NO_TOKEN = ""  # nosec B105: it says that nobody holds the lock
_NOBODY = "released"
"""In the place of the moment at which a process has started: no process is of that moment."""
_LONG_AGO = "1970-01-01T00:00:00.000+00:00"


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

    @property
    def is_released(self) -> bool:
        """Does it say that nobody holds the lock?"""
        return self.process.started == _NOBODY

    def __str__(self) -> str:
        return f"{self.doing} by process {self.process.pid} on {self.host} since {self.since}"


class Held:
    """The lock in our hands; the `Fence` of what this process writes under it."""

    def __init__(
        self,
        store: Store,
        folder: str,
        number: int,
        holder: Holder,
        *,
        stolen: bool,
        after_dead: bool = False,
    ) -> None:
        """`stolen`: may somebody sleep who held it before? `after_dead`: who did never gave it
        back."""
        self.after_dead = after_dead
        self._store = store
        self._folder = folder
        self._number = number
        self._holder = holder
        self._stolen = stolen
        self._lost: str | None = None
        self._renewed = Moment.now()
        self._looking = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="handful-lock", daemon=True)
        self._thread.start()

    def __reduce__(self) -> tuple[type[Watch], tuple[Store, Token]]:
        return Watch, (self._store, self._watch_token())

    @property
    def store(self) -> Store:
        """The store as its holder writes to it."""
        return self._store.fenced(self)

    @property
    def token(self) -> str:
        return self._holder.token

    @property
    def key(self) -> str:
        return _key(self._folder, self._number)

    @property
    def above(self) -> str:
        return _key(self._folder, self._number + 1)

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self._watch_token())

    def _watch_token(self) -> Token:
        return Token(self.key, self.token, BEAT / 2)

    def check(self) -> None:
        """`Locked` if this process may no longer write.

        Asks the store if no beat has been for two: then this process stood still, or the machine
        slept, or the store did not answer; nobody takes a lock before that.
        """
        if self._lost is None and self._renewed.seconds_ago() > 2 * BEAT:
            with self._looking:
                if self._lost is None and self._renewed.seconds_ago() > 2 * BEAT:
                    self._renew()
        self._raise_if_lost()

    def check_now(self) -> None:
        with self._looking:
            self._lost = self._lost or _lock_loss_reason(
                self._store, self._folder, self._number, self.token
            )
        self._raise_if_lost()

    def release(self) -> None:
        """Let go; what cannot be removed expires by itself."""
        self._end.set()
        self._thread.join()
        with suppress(StoreError):
            if self._lost is None and self._renewed.seconds_ago() > 2 * BEAT:
                self._lost = _lock_loss_reason(self._store, self._folder, self._number, self.token)
            if self._lost is None and self._stolen:
                self._store.write(self.key, _mark_holder_released(self._holder).to_json())
            elif self._lost is None or _is_of(_read_raw(self._store, self.key), self.token):
                # A lost one, too: where no server honours conditions, renewing it may have brought
                # it back.
                self._store.delete([self.key])

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise _lock_lost_error(self._store, self._folder, self._lost)

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with self._looking:
                self._renew()

    def _renew(self) -> None:
        if self._lost is not None:
            return
        now = Moment.now()
        try:
            above = _highest(self._store, self._folder) > self._number
            if above or not self._store.rewrite(self.key, self._with_beat):
                self._lost = _lock_loss_reason(self._store, self._folder, self._number, self.token)
                return
            self._renewed = now
        except StoreError as error:
            if self._renewed.seconds_ago() > EXPIRES - BEAT:
                self._lost = f"it could not be renewed for {EXPIRES - BEAT:.0f} s ({error})"

    def _with_beat(self, found: bytes) -> bytes | None:
        """Our own file with another beat; of the same length, since only digits differ."""
        if not _is_of(found, self.token):
            return None
        return replace(self._holder, beat=_lock_timestamp()).to_json()


@dataclass(frozen=True)
class Token:
    """What other processes of the holder are given, so that they know whether it still is one."""

    key: str
    """The holder's file."""
    token: str
    seconds: float
    """How often they look."""


class Watch:
    """The `Fence` of another process of the holder: it looks, and renews nothing."""

    def __init__(self, store: Store, token: Token) -> None:
        self._store = store
        self._token = token
        self._folder, _, name = token.key.rpartition("/")
        self._number = int(name.removesuffix(".json"))
        self._looked: Moment | None = None
        self._lost: str | None = None
        self._looking = threading.Lock()

    def __reduce__(self) -> tuple[type[Watch], tuple[Store, Token]]:
        return Watch, (self._store, self._token)

    @property
    def token(self) -> str:
        return self._token.token

    @property
    def key(self) -> str:
        return self._token.key

    @property
    def above(self) -> str:
        return _key(self._folder, self._number + 1)

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self._token)

    def check(self) -> None:
        """`Locked` if the holder has lost the lock, as seen not long ago."""
        with self._looking:
            if self._looked is None or self._looked.seconds_ago() > self._token.seconds:
                self._look()
        self._raise_if_lost()

    def check_now(self) -> None:
        with self._looking:
            self._look()
        self._raise_if_lost()

    def _look(self) -> None:
        now = Moment.now()
        self._lost = self._lost or _lock_loss_reason(
            self._store, self._folder, self._number, self.token
        )
        self._looked = now

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise _lock_lost_error(self._store, self._folder, self._lost)


def attach_lock_watch(store: Store, token: Mapping[str, Any]) -> Store:
    """`store` for another process of the holder; `token` is what its `Fence.to_json` says."""
    return store.fenced(Watch(store, Token(**token)))


@dataclass(frozen=True)
class Moment:
    """By every clock that goes on while the machine is suspended, or this process is stopped."""

    boot: float
    wall: float

    @staticmethod
    def now() -> Moment:
        clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux: monotonic stands still meanwhile
        return Moment(time.monotonic() if clock is None else time.clock_gettime(clock), time.time())

    def seconds_ago(self) -> float:
        """By the clock that has gone further: a guest's own may have stood still with it."""
        now = Moment.now()
        return max(now.boot - self.boot, now.wall - self.wall)


@contextmanager
def hold_lock(store: Store, folder: str, doing: str) -> Iterator[Held]:
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
    # One may have been released meanwhile.
    return [one for one in found if one is not None and not one.is_released]


def _acquire(store: Store, folder: str, doing: str) -> Held:
    token = secrets.token_hex(16)
    with ThreadPoolExecutor(1) as other:  # a distant store answers each question after a while
        ready = other.submit(store.expect_create)
        number = _highest(store, folder)
        ready.result()
    for tries in range(_LOCK_TRIES):
        number, dead = _highest(store, folder) if tries else number, None
        if number:
            dead = _read(store, folder, number)
            if dead is None:
                continue  # it was released while we looked
            if not dead.is_released and not _is_dead(store, folder, number, dead):
                raise _lock_busy_error(store, folder, dead)
        now = _lock_timestamp()
        mine = Holder(token, doing, socket.gethostname(), this_process(), now, now)
        with store.exclude_writers(_key(folder, number)) as alone:
            if not alone:
                raise _lock_stalled_error(store, folder, dead)
            if (numbers := _took(store, folder, number + 1, mine, dead)) is not None:
                store.delete([_key(folder, n) for n in numbers if n <= number])
                # Who is known to be dead does not sleep.
                stolen = dead is not None and (dead.is_released or is_alive(dead.process) is None)
                left = dead is not None and not dead.is_released
                return Held(store, folder, number + 1, mine, stolen=stolen, after_dead=left)
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


def _lock_busy_error(store: Store, folder: str, holder: Holder) -> Locked:
    return Locked(
        f"one at a time: {holder} is at work (last heard of at {holder.beat})",
        where=f"{store.url}/{folder}",
        remedy=f"wait for it; should it be dead, its lock expires after {EXPIRES:.0f} s of silence",
    )


def _lock_stalled_error(store: Store, folder: str, holder: Holder | None) -> Locked:
    return Locked(
        f"one at a time: a process of {holder} stands still in the middle of a write",
        where=f"{store.url}/{folder}",
        remedy="let it go on, or end it; what it writes would come after what you write",
    )


def _lock_loss_reason(store: Store, folder: str, number: int, token: str) -> str | None:
    """Why nobody holds the lock by this number and token any more; None: somebody does."""
    if (above := _highest(store, folder)) > number:
        taker = _read(store, folder, above)
        if taker is None or taker.is_released:
            return "taken over for somebody who has ended"
        return f"taken over for {taker}"
    if _is_of(_read_raw(store, _key(folder, number)), token):
        return None
    return "its file is gone: somebody has taken it over, and has ended"


def _lock_lost_error(store: Store, folder: str, why: str) -> Locked:
    return Locked(
        f"the lock was lost: {why}",
        where=f"{store.url}/{folder}",
        remedy="what was done so far is kept; run the same command again",
    )


def _mark_holder_released(holder: Holder) -> Holder:
    """Says that nobody holds the lock; to a build that does not know that, that its holder died."""
    nobody = replace(holder.process, started=_NOBODY)
    return replace(holder, token=_NO_TOKEN, process=nobody, beat=_LONG_AGO)


def _is_of(content: bytes, token: str) -> bool:
    return bool(token) and token.encode() in content


def _read_raw(store: Store, key: str) -> bytes:
    """Empty if it is not there."""
    try:
        return store.read(key)
    except Absent:
        return b""


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


def _lock_timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
