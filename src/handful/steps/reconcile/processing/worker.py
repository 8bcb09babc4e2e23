"""A worker process of process_func: `python -m handful.steps.reconcile.processing.worker SOCKET`.

It is started afresh, loads functions.py itself, and is told of one artifact after the other over
the socket whose descriptor it is given. Its standard input is a leash: when the process that
started it is gone, however it went, it ends with all that it started, so that no orphan goes on
writing beside a new run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from handful.errors import FunctionsError, HandfulError
from handful.errors.exceptions import listen_in_worker
from handful.steps.reconcile.processing.processor import Broken, Place, Ready, Short, Task, process
from handful.user_functions.load import load_functions


def main(descriptor: int) -> int:
    """The worker's life: load, say so, and process what comes until the other side hangs up."""
    listen_in_worker()
    threading.Thread(target=_exit_worker_with_driver, args=(os.dup(0),), daemon=True).start()
    # process_func gets an empty standard input: the leash is not for it.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as pipe:
        place: Place = pipe.recv()
        try:
            functions = load_functions(place.directory)
        except FunctionsError as error:
            pipe.send(Broken(error.faults))
            return 0
        except HandfulError as error:
            pipe.send(Short(error.fault))
            return 0
        pipe.send(Ready())
        well = False
        while True:
            try:
                task: Task = pipe.recv()
            except EOFError:
                return 0
            try:
                result = process(place, functions, task, others_went_well=well)
            except HandfulError as error:
                pipe.send(Short(error.fault))
            else:
                well = well or not result.failure
                pipe.send(result)


def _exit_worker_with_driver(leash: int) -> None:
    while os.read(leash, 1):
        pass
    with suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)
    os._exit(143)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
