"""Fixtures for all tests; the servers start only when a test asks for them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

# The number of threads changes bits: every process that a test starts, and the test's own, train
# with the same one. The tests run in several processes anyway.
os.environ["OMP_NUM_THREADS"] = "1"

# With `--import-mode=importlib` no test folder is on the path by itself; processes that a test
# spawns find the test's module by its name from the root.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from hypothesis import settings

from databases import firebird, firebird_server, mariadb, mariadb_server
from s3_servers import s3_servers
from servers import postgres, postgres_server, s3_server

__all__ = [
    "firebird",
    "firebird_server",
    "mariadb",
    "mariadb_server",
    "postgres",
    "postgres_server",
    "s3_server",
    "s3_servers",
]

# How long one case takes says more about the machine's load than about what is tested.
settings.register_profile("handful", deadline=None)
settings.load_profile("handful")

# A shell lets what it starts behind itself ignore Ctrl-C, and so would every child of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
