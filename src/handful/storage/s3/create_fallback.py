"""`create` on servers that ignore the condition of a conditional put.

S3 itself, SeaweedFS, Ceph's gateway, MinIO and R2 honour `If-None-Match: *`; rclone and nanio
overwrite silently. Whether a server does is tried once, with puts of a probe; and so is `If-Match`,
which lets a put replace only what its writer has seen.

Where it does not, writers put claims beside the key, and list them: who sees no claim but his own
may write; who sees others takes his back and tries again after a random while. Two can never both
see only their own, as long as a listing shows every put that ended before it began, which all S3
servers promise today. A claim that is a minute older than one's own was left by a dead process and
does not count; so a writer that stalls for a minute between its listing and its put can break the
promise, which the conditional put cannot. Prefer a server that has it.

Probes and claims say whose they are. What a killed process has left of them is removed by the next
one that tries the server.
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from handful.errors import StoreError
from handful.storage import atomic_write
from handful.storage.keys import HIDDEN
from handful.storage.s3.errors import answer_of

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import S3Store as Obstore

    from handful.storage.s3.clients import Clients

STALE = timedelta(minutes=1)
FORGOTTEN = timedelta(hours=1)
"""So old is no probe or claim of a process that is at work, on whichever machine."""
TRIES = 60
NOT_IMPLEMENTED = 501
_NO_ETAG = f'"{32 * "0"}"'
"""No object has this one."""
LONGEST_WAIT_SECONDS = 0.5
"""Where a server is quick."""
_LIVES_OF_A_CLAIM = 8
_SLOWEST_WAIT_SECONDS = 10.0
_PROBE_NAME_PREFIX = "probe-"
_CLAIM_DELETE_LIMIT = 1_000


@dataclass(frozen=True)
class Conditions:
    """What a server does with the conditions of a put."""

    create: bool
    """Does it refuse to create what exists?"""
    match: bool
    """Does it refuse to replace what is not as it was seen?"""


def probe_key(root: str) -> str:
    """A fresh key to try something with, below `root`."""
    return f"{root}{HIDDEN}/{_PROBE_NAME_PREFIX}{atomic_write.mark()}"


def probe_put_conditions(clients: Clients, root: str) -> Conditions:
    """Tries it; leaves nothing behind, neither of others."""
    import obstore

    store, probe = clients.bucket_store(), probe_key(root)
    try:
        obstore.put(store, probe, b"1")
        _remove_left_behind(clients, f"{root}{HIDDEN}/", probe)
        if not _refuses(store, probe, "create"):
            return Conditions(create=False, match=False)
        return Conditions(create=True, match=_refuses(store, probe, {"e_tag": _NO_ETAG}))
    finally:
        clients.deleter.delete_one(probe)


def _remove_left_behind(clients: Clients, folder: str, mine: str) -> None:
    """What killed processes left in `folder`; `mine` lies there, and tells the server's time."""
    import obstore
    from obstore.exceptions import BaseError

    with suppress(BaseError, StoreError, KeyError):  # the next one may do it
        found = {
            one["path"]: one["last_modified"]
            for page in obstore.list(clients.bucket_store(), folder)
            for one in page
            if one["path"].startswith(folder)
        }
        now = found.pop(mine)
        if left := [key for key, made in found.items() if _is_left_behind(key, now - made)]:
            clients.deleter.delete(left[:_CLAIM_DELETE_LIMIT])


def _is_left_behind(key: str, age: timedelta) -> bool:
    """Two machines may have one name, so a claim that still counts is nobody's to remove."""
    name = key.rpartition("/")[2]
    counts = age <= STALE and not name.startswith(_PROBE_NAME_PREFIX)
    return age > FORGOTTEN or (
        not counts and atomic_write.is_left_behind(name.removeprefix(_PROBE_NAME_PREFIX))
    )


def _refuses(store: Obstore, key: str, mode: PutMode) -> bool:
    import obstore
    from obstore.exceptions import BaseError, NotSupportedError

    try:
        obstore.put(store, key, b"2", mode=mode)
    except conflicts():
        return True
    except (NotSupportedError, NotImplementedError):
        return False
    except BaseError as error:
        answer = answer_of(error)
        if answer is None or answer.status != NOT_IMPLEMENTED:
            raise
    return False


def conflicts() -> tuple[type[Exception], ...]:
    """What a put raises whose condition does not hold."""
    from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

    return AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError


def create_by_claim(clients: Clients, root: str, key: str, data: bytes) -> bool:
    """Put `data` at `key` if nothing is there, with claims; False if something is.

    `data`: the whole content.
    """
    import obstore

    store = clients.bucket_store()
    folder = f"{root}{HIDDEN}/claims/{hashlib.sha256(key.encode()).hexdigest()}"
    mine = f"{folder}/{atomic_write.mark()}"
    for tries in range(TRIES):
        if _exists(store, key):
            return False
        began = time.monotonic()
        obstore.put(store, mine, b"")
        try:
            if _alone(store, folder, mine):
                if _exists(store, key):  # the holder before us wrote it and took its claim back
                    return False
                obstore.put(store, key, data)
                return True
        finally:
            clients.deleter.delete_one(mine)
        time.sleep(random.uniform(0, _longest_wait(tries, time.monotonic() - began)))  # nosec B311
    raise StoreError(
        f"{TRIES} times, somebody else was trying to create it too", where=key, remedy="try again"
    )


def _longest_wait(tries: int, claim_seconds: float) -> float:
    """In seconds; long beside a claim's own life, or those of a few writers always overlap."""
    usual = min(0.02 * 2.0 ** min(tries, 10), LONGEST_WAIT_SECONDS)
    return max(usual, min(_LIVES_OF_A_CLAIM * claim_seconds, _SLOWEST_WAIT_SECONDS))


def _exists(store: Obstore, key: str) -> bool:
    import obstore

    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return False
    return True


def _alone(store: Obstore, folder: str, mine: str) -> bool:
    import obstore

    claims = {
        claim["path"]: claim["last_modified"]
        for page in obstore.list(store, folder)
        for claim in page
    }
    # The server's own clock, on both sides of the comparison.
    own = claims.pop(mine)
    return all(own - other > STALE for other in claims.values())
