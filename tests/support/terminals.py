"""Commands on a real terminal, of a size that is told: a pty, read to its end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_])")
COLOURS = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7]|38;[0-9;]*)(?:;[0-9;]*)?m")
_OF_OTHERS = ("NO_COLOR", "FORCE_COLOR", "CI", "COLUMNS", "LINES", "HANDFUL_VERBOSITY")
"""Of whoever runs the tests: they would change what is shown."""


def environment(**more: str) -> dict[str, str]:
    """Of an ordinary terminal."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_OTHERS}
    return {**own, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **more}


@dataclass
class Shown:
    """A command on a terminal, while it goes on or when it is over."""

    process: subprocess.Popen[bytes]
    leader: int
    parts: list[bytes] = field(default_factory=list)
    reader: threading.Thread | None = None

    @property
    def raw(self) -> str:
        return b"".join(self.parts).decode(errors="replace")

    @property
    def text(self) -> str:
        """Without what moves the cursor or colours."""
        return ESCAPES.sub("", self.raw).replace("\r", "")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def wait(self, seconds: float = 120) -> int:
        """The exit status."""
        status = self.process.wait(seconds)
        assert self.reader is not None
        self.reader.join(10)
        os.close(self.leader)
        return status

    def wait_for(self, words: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} was not shown:\n{self.text}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)


def open_terminal(
    words: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    columns: int = 80,
    rows: int = 24,
) -> Shown:
    """Start `words` on a terminal of that size."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        words,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=cwd,
        env=environment(**(env or {})),
        start_new_session=True,
    )
    os.close(follower)
    shown = Shown(process, leader)
    shown.reader = threading.Thread(target=_read_to_end, args=(shown,), daemon=True)
    shown.reader.start()
    return shown


def _read_to_end(shown: Shown) -> None:
    while True:
        try:
            part = os.read(shown.leader, 65536)
        except OSError:  # the last one that had it open has gone
            return
        if not part:
            return
        shown.parts.append(part)


def on_terminal(
    words: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    columns: int = 80,
) -> Shown:
    """Run `words` to their end."""
    shown = open_terminal(words, cwd=cwd, env=env, columns=columns)
    shown.wait()
    return shown
