"""Processes that run user code beside this one: none outlives it, and none is left half alive."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

_LAST_WORDS_BYTES = 2000


class GuardedProcess:
    """`python -m module DESCRIPTOR ARGUMENTS…`, with a connection to it, and a log of what it says.

    It is started afresh with a socket, so nothing hangs because of a fork, and a caller needs no
    main guard; in a group of its own: an interrupt is for this process alone, and a kill takes all
    that it has started.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        ours, theirs = socket.socketpair()
        with theirs, log.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), *arguments],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.connection = Connection(ours.detach())
        self.pid = self._process.pid

    @property
    def status(self) -> int | None:
        """What it ended with: less than 0 for a signal; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self.connection.close()

    def last_words(self) -> str:
        return self._log.read_bytes()[-_LAST_WORDS_BYTES:].decode("utf-8", "replace").strip()


@contextmanager
def connection_to_parent(descriptor: int) -> Iterator[Connection]:
    """The other end of `GuardedProcess.connection`: this process ends when its parent is gone."""
    end_with_parent(whole_group=True)
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as connection:
        yield connection


def end_with_parent(*, whole_group: bool = False) -> None:
    """End at once, with all of its group or alone, when the standard input closes.

    The parent holds its other end: when that closes, it is gone, however it went. From now on the
    standard input is empty: who asks a question there gets its end at once.
    """
    leash = os.dup(0)

    def watch() -> None:
        while os.read(leash, 1):
            pass
        if whole_group:
            with suppress(ProcessLookupError):
                os.killpg(0, signal.SIGKILL)
        os._exit(143)

    threading.Thread(target=watch, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def signal_name(number: int) -> str:
    """`SIGKILL`; "unknown" for one without a name."""
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"
