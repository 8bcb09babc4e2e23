"""A worker process of process_func: `python -m handful.steps.reconcile.processing.worker SOCKET`.

It is started afresh, loads functions.py itself, and is told of one artifact after the other over
the socket whose descriptor it is given. When the process that started it is gone, it ends with all
that it started, so that no orphan goes on writing beside a new run.
"""

from __future__ import annotations

import sys

from handful.errors import HandfulError
from handful.errors.exceptions import error_to_json, listen_in_worker
from handful.steps.reconcile.processing.processor import Place, Ready, Task, WorkerError, process
from handful.system.processes import connection_to_parent
from handful.user_functions.load import load_functions


def main(descriptor: int) -> int:
    """The worker's life: load, say so, and process what comes until the other side hangs up."""
    listen_in_worker()
    with connection_to_parent(descriptor) as pipe:
        place: Place = pipe.recv()
        try:
            functions = load_functions(place.directory)
        except HandfulError as error:
            pipe.send(WorkerError(error_to_json(error)))
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
                pipe.send(WorkerError(error_to_json(error)))
            else:
                well = well or not result.failure
                pipe.send(result)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
