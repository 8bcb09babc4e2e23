"""Standard output and error whose reader has left, or whose disk is full: the work goes on.

Whoever reads `handful … | head -1` has had enough; that is no error of the command. What cannot be
written for another reason is told once, and the command ends with 1.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from handful.cli.verbosity import fold
from handful.errors import HandfulError, StepError


class _Output(io.FileIO):
    """A descriptor that nobody has to read."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.reader_left = False
        self._words = name
        self._failed = False

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        if self.reader_left or self._failed:
            return size
        try:
            return super().write(data) or 0  # type: ignore[arg-type]
        except BrokenPipeError:
            self.reader_left = True
            return size
        except OSError as error:
            self._failed = True  # Python writes again at its end: once is enough to tell
            raise StepError(
                f"{self._words} cannot be written: {error.strerror}",
                remedy="free some room where it goes, and run the same command again",
            ) from error


_outputs: dict[str, _Output] = {}


def guard_output() -> None:
    """For the console script: everything that is printed goes through an `_Output`."""
    for name, words in (("stdout", "standard output"), ("stderr", "standard error")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            continue
        if stream.isatty():
            _replace_what_it_cannot_show(stream)
            continue
        try:
            descriptor = stream.fileno()
            os.fstat(descriptor)
        except (OSError, ValueError):  # it is closed
            continue
        stream.flush()
        raw = _outputs[name] = _Output(descriptor, words)
        buffered = io.BufferedWriter(raw)
        guarded = io.TextIOWrapper(
            buffered,
            encoding=stream.encoding,
            errors="replace" if _is_narrow(stream) else stream.errors,
            line_buffering=name == "stderr",
        )
        setattr(sys, name, guarded)


def _is_narrow(stream: TextIO) -> bool:
    """Would a letter that its encoding lacks end the command? Then it is shown as `?`."""
    return stream.errors == "strict" and not stream.encoding.lower().startswith("utf")


def _replace_what_it_cannot_show(stream: TextIO) -> None:
    if _is_narrow(stream) and isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def flush_stdout(status: int) -> int:
    """`status`, once all is written that was printed; 1 if it could not be."""
    try:
        sys.stdout.flush()
    except StepError as error:
        tell_error(error)
        return status or error.exit_status
    except ValueError:  # it is closed
        pass
    return status


def tell_error(error: HandfulError) -> None:
    """On standard error, in words; on a terminal as wide as that is."""
    print(fold(f"error: {error}", error=True), file=sys.stderr)


def has_reader() -> bool:
    """False once whoever read standard output has left."""
    return not ("stdout" in _outputs and _outputs["stdout"].reader_left)
