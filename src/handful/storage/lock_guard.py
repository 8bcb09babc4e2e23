"""The last moment of a local write, during which nobody takes the writer's lock over.

A writer holds the lock's own file shared (flock) while it looks whether that still says its token
and renames what it has written; whoever takes the lock over holds it exclusively. So a writer that
was frozen before that moment finds the lock lost, and one that was frozen within it keeps others
from the lock until it goes on or ends. Where a file system knows no flock, the look right before
the rename is what is left.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PATIENCE_SECONDS = 10.0
"""How long the other side is waited for; it needs some milliseconds."""
_FLOCK_POLL_SECONDS = 0.02
_NO_FLOCK_ERRNOS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}


@contextmanager
def enter(lock: Path, above: Path, token: str) -> Iterator[bool]:
    """Write during the body; False if the file `lock` no longer says `token`, or `above` is there.

    Then nothing may be written.
    """
    try:
        file = lock.open("rb")
    except FileNotFoundError:
        yield False
        return
    with file:
        entered = _flock(file, shared=True)
        yield entered and token.encode() in file.read() and not os.path.lexists(above)


@contextmanager
def close(lock: Path) -> Iterator[bool]:
    """Keep writers out during the body; False if one of them is within and does not go on."""
    try:
        file = lock.open("r+b")
    except FileNotFoundError:
        yield True  # its writers find it gone
        return
    with file:
        yield _flock(file, shared=False)


def _flock(file: IO[bytes], *, shared: bool) -> bool:
    """Lock the open file until it is closed; False if that is not to be had."""
    try:
        import fcntl
    except ImportError:
        return True
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_FLOCK_POLL_SECONDS)
        except OSError as error:
            if error.errno not in _NO_FLOCK_ERRNOS:
                raise
            return True
        else:
            return True
