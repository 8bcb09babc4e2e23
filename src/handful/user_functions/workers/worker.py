"""A worker process: `python -m handful.user_functions.workers.worker SOCKET GAUGE`.

It is started afresh (never forked), imports functions.py itself, and takes work from the socket
whose descriptor it is given, until its parent is gone. What the user's functions print goes to its
log.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from handful.errors.exceptions import is_from_outside, listen_in_worker, signals_heard
from handful.system.machine import pause_garbage_collection
from handful.system.processes import connection_to_parent
from handful.user_functions.workers.heartbeat import Gauge
from handful.user_functions.workers.messages import Desk, Done, Failed, Setup, Work

_COLLECT_AFTER = 20_000, 20, 20
"""Objects more than before, and younger collections, after which garbage is looked for."""


def main(descriptor: int, gauge: Path) -> int:
    """Work until the other side hangs up."""
    listen_in_worker()
    with connection_to_parent(descriptor) as connection:
        setup: Setup = connection.recv()
        desk = Desk(setup.directory, setup.settings, Gauge(gauge), setup.beside)
        if setup.libraries is not None:
            _get_ready(desk, setup.libraries)
        desk.gauge.rest()  # the first sign of life: from now on no import is waited for
        while True:
            try:
                work: Work = connection.recv()
            except EOFError:
                return 0
            warm = len(desk.warm)
            connection.send(_run_worker_task(work, desk))
            if len(desk.warm) > warm:
                settle()


def settle() -> None:
    """Spare the collector of cyclic garbage what is here to stay: libraries, and tokenizers.

    It looked through all of it again and again, for several percent of the time of encoding.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _get_ready(desk: Desk, libraries: tuple[str, ...]) -> None:
    """Import what the works take, while the parent is still looking for some."""
    with pause_garbage_collection(), suppress(Exception):  # told by the first work that needs it
        for library in libraries:
            import_module(library)
        desk.functions  # noqa: B018 - imported when first asked for


def _run_worker_task(work: Work, desk: Desk) -> Done | Failed:
    heard = signals_heard()
    try:
        answer: Done | Failed = Done(work.do(desk))
    except BaseException as error:  # every end of a work goes home
        if is_from_outside(error, heard):
            raise  # what is in hand stays told
        answer = Failed.of(error)
    desk.gauge.rest()
    return answer


if __name__ == "__main__":
    # The module that others import, so that what is sent has one and the same class.
    from handful.user_functions.workers import worker

    sys.exit(worker.main(int(sys.argv[1]), Path(sys.argv[2])))
