"""What was raised, in words; whose fault it is; and whether somebody outside asked for the end.

The user's functions may raise anything: an exception whose message cannot be read, one that is no
`Exception` at all (`sys.exit`, a panic of a library written in Rust), or one that only says that
the machine has nothing left to give, which is no document's fault.
"""

from __future__ import annotations

import errno
import re
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from handful import errors
from handful.errors import Fault, Full, HandfulError, OutOfResources, StepError
from handful.system.machine import memory_is_short

_CAUSES = 10
"""How far back the causes of an exception are followed."""


class Ended(Exception):
    """The user's code raised what is no `Exception`: it is the cause, and ends only that call."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __str__(self) -> str:
        return message(self.error)


class _Outside:
    """How many requests to end have come from outside: signals, not what some library raised."""

    heard = 0
    listening = False


def note_signal() -> None:
    """For a signal's handler, before it raises."""
    _Outside.heard += 1


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, and are known to be signals.

    A KeyboardInterrupt that a library raises by itself is told apart by that. For the main thread.
    """
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    _Outside.listening = True


def listen_in_worker() -> None:
    """As `listen`, in a worker process: its parent ends it by SIGTERM or SIGKILL, at once."""
    signal.signal(signal.SIGINT, _interrupt)
    _Outside.listening = True


def _interrupt(*_: object) -> None:
    note_signal()
    raise KeyboardInterrupt


@contextmanager
def contain_user_errors() -> Iterator[None]:
    """Whatever the user's code in the body raises comes out as an `Exception`.

    What a signal from outside asked for passes. Where nobody listens to signals, a
    KeyboardInterrupt is taken for one.
    """
    heard = _Outside.heard
    try:
        yield
    except Exception:
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised again, in one form or the other
        raise_contained(error, heard)


def raise_contained(error: BaseException, heard: int) -> NoReturn:
    """What `contain_user_errors` raises for `error`; `heard`: what `signals_heard` gave before."""
    if is_from_outside(error, heard):
        raise error
    raise Ended(error).with_traceback(error.__traceback__) from error


def signals_heard() -> int:
    """To be asked before the user's code runs, and given to `is_from_outside` after."""
    return _Outside.heard


def is_from_outside(error: BaseException, heard: int) -> bool:
    """Was it raised because of a signal that came since `signals_heard` gave `heard`?"""
    if threading.current_thread() is not threading.main_thread():
        return False  # signals are heard in the main thread alone
    if _Outside.heard != heard:
        return True
    return isinstance(error, KeyboardInterrupt) and not _Outside.listening


def original(error: BaseException) -> BaseException:
    """What the user's code raised."""
    return error.error if isinstance(error, Ended) else error


def message(error: BaseException) -> str:
    """Its message, unless its class has trouble with that; of a group, the first one's too."""
    try:
        text = str.encode(str(error), "utf-8", "backslashreplace").decode()
    except BaseException:  # noqa: BLE001 - whatever it is, the error to tell is another
        return "(its message cannot be read)"
    if isinstance(error, BaseExceptionGroup):
        return f"{text}, the first of them {describe_exception(error.exceptions[0])}"
    return text


def describe_exception(error: BaseException) -> str:
    """Its class and message, in one line."""
    return " ".join(f"{type(original(error)).__name__}: {message(error)}".split())


def format_traceback(error: BaseException) -> str:
    """All of its traceback, as far as it can be told."""
    try:
        text = "".join(traceback.format_exception(original(error)))
    except BaseException:  # noqa: BLE001 - it stands beside the error, and is not worth one
        return describe_exception(error)
    return text.encode("utf-8", "backslashreplace").decode()


def place_in(directory: Path, error: BaseException) -> str:
    """`file:line` of the last line of the experiment's own code that it went through; or empty."""
    root = directory.resolve()
    for one in _and_causes(error):
        frames = traceback.extract_tb(one.__traceback__)
        own = [f for f in frames if Path(f.filename).resolve().is_relative_to(root)]
        if own:
            return f"{Path(own[-1].filename).name}:{own[-1].lineno}"
    return ""


def error_to_json(error: BaseException) -> dict[str, Any]:
    """An error as JSON, so that it can be raised again in another process."""
    if not isinstance(error, HandfulError):
        error = wrap_unexpected_error(error)
    faults = getattr(error, "faults", None) or (error.fault,)
    return {
        "class": type(error).__name__,
        "faults": [[fault.where, fault.what, fault.remedy] for fault in faults],
        "traceback": format_traceback(error),
    }


def error_from_json(answer: Mapping[str, Any]) -> HandfulError:
    """The error that `error_to_json` wrote; its traceback as a note on it."""
    faults = [Fault(*fault) for fault in answer["faults"]]
    kind: Any = getattr(errors, answer["class"], StepError)
    error: HandfulError
    if issubclass(kind, errors.ManyFaults):
        error = kind(faults)
    else:
        error = kind(faults[0].what, where=faults[0].where, remedy=faults[0].remedy)
    error.add_note(answer["traceback"])
    return error


def wrap_unexpected_error(error: BaseException) -> StepError:
    """Any other exception as a `StepError` that keeps its cause, and the user's line if any.

    What only says that the machine has nothing left to give is told as that.
    """
    error = original(error)
    short = shortage(error)
    if short:
        short.__cause__ = error
        return short
    own = str(Path(__file__).parents[1])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if own not in f.filename]
    users = [f for f in frames if "site-packages" not in f.filename and f.filename.endswith(".py")]
    place = users[-1] if users else None
    wrapped = StepError(
        describe_exception(error),
        where=f"{Path(place.filename).name}:{place.lineno} {place.name}" if place else "",
        remedy="run again with --traceback to see where it came from",
    )
    wrapped.__cause__ = error
    return wrapped


# --- what the machine has no more of -------------------------------------------------------------

_OPEN_FILES_SHORTAGE = (
    "no more files may be opened (`ulimit -n`)",
    "raise `ulimit -n`, or lower NUM_PROCESSES and COPY_CONCURRENCY; what functions.py opens has "
    "to be closed (`with open(…) as file`)",
)
_DISK = (
    "no room is left on the disk",
    "free some room, point TMPDIR or STORE at a larger disk, and run again",
)
_FILE_SIZE = (
    "a file may not become that large (`ulimit -f`, or a limit of the file system)",
    "raise `ulimit -f`, or point TMPDIR or STORE at another disk, and run again",
)
_MEMORY = (
    "no memory is left",
    "lower NUM_PROCESSES, BATCH_SIZE or [compute] TRAIN_PROCESSES, or allow more (`ulimit -v`, the "
    "container's limit), and run again",
)
_PROCESSES = (
    "no more processes or threads may be started (`ulimit -u`, or the container's limit)",
    "raise that limit, or lower NUM_PROCESSES, COPY_CONCURRENCY and [compute] TRAIN_PROCESSES, and "
    "run again",
)
_TEMPORARY = (
    "no folder for temporary files can be written",
    "free some room there, or point TMPDIR at a folder that can be written, and run again",
)
_BY_NUMBER = {
    errno.EMFILE: _OPEN_FILES_SHORTAGE,
    errno.ENFILE: _OPEN_FILES_SHORTAGE,
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: _FILE_SIZE,
    errno.ENOMEM: _MEMORY,
}
_BY_WORDS = (
    (re.compile(r"too many open files", re.IGNORECASE), _OPEN_FILES_SHORTAGE),
    (re.compile(r"no space left on device|disk quota exceeded|disk is full", re.IGNORECASE), _DISK),
    (re.compile(r"\bFile too large\b"), _FILE_SIZE),
    (re.compile(r"(cannot|can't|unable to) allocate memory|bad_alloc", re.IGNORECASE), _MEMORY),
    (re.compile(r"failed to map segment from shared object(?!.*not permitted)"), _MEMORY),
    (re.compile(r"No usable temporary directory"), _TEMPORARY),
    (re.compile(r"can't start new thread"), _PROCESSES),
)
_LIBRARIES = {"safetensors", "safetensors_rust", "pyarrow", "polars", "sqlite3"}
"""Whose own exceptions tell what the system told them, by words alone."""
_STARTERS = {"subprocess.py", "popen_fork.py", "popen_spawn_posix.py", "util.py"}
"""Modules of Python that start processes: elsewhere, "try again" means something else."""


def shortage(error: BaseException) -> StepError | None:
    """`Full` or `OutOfResources` if it only says that the machine has nothing left to give."""
    for one in _and_causes(error):
        found = _shortage_of(one)
        if found:
            what, remedy = found
            name = getattr(one, "filename", None) if isinstance(one, OSError) else None
            where = name if isinstance(name, str) else ""
            told = f"{what}: {describe_exception(one)}"
            if found is _DISK:
                return Full(told, where=where, remedy=remedy)
            return OutOfResources(told, where=where, remedy=remedy)
    return None


def shortage_at_work(error: BaseException, *, others_went_well: bool) -> StepError | None:
    """`shortage`, while the user's function is at one document of many.

    Memory that one document does not get is its own fault, unless no other got any either and
    there is little to be had.
    """
    lacks_memory = any(_shortage_of(one) is _MEMORY for one in _and_causes(error))
    if lacks_memory and (others_went_well or not memory_is_short()):
        return None
    return shortage(error)


def _shortage_of(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, BlockingIOError) and error.errno == errno.EAGAIN:
        frames = traceback.extract_tb(error.__traceback__)
        return _PROCESSES if frames and Path(frames[-1].filename).name in _STARTERS else None
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    # Others quote what they met, such as the words of a document.
    rust = type(error).__module__.partition(".")[0] in _LIBRARIES
    if not rust and not isinstance(error, OSError | RuntimeError | ImportError):
        return None
    words = message(error)
    return next((short for pattern, short in _BY_WORDS if pattern.search(words)), None)


def _and_causes(error: BaseException) -> Iterator[BaseException]:
    """It, and what it was raised for, as a traceback would show."""
    seen: list[int] = []
    one: BaseException | None = original(error)
    while one is not None and id(one) not in seen and len(seen) < _CAUSES:
        yield one
        seen.append(id(one))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
