"""A worker, under the name by which others start it: `python -m handful.worker`."""

from __future__ import annotations

import sys

from handful.backends.worker import main, run_job
from handful.errors.exceptions import listen_in_worker

__all__ = ["main", "run_job"]

if __name__ == "__main__":
    listen_in_worker()
    sys.exit(main())
