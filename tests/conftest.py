"""Fixtures for all tests; the servers start only when a test asks for them."""

from __future__ import annotations

import os
import signal

# The number of threads changes bits: every process that a test starts, and the test's own, train
# with the same one. The tests run in several processes anyway.
os.environ["OMP_NUM_THREADS"] = "1"

from hypothesis import settings

from tests.support.databases import firebird, firebird_server, mariadb, mariadb_server
from tests.support.s3_servers import s3_servers
from tests.support.servers import postgres, postgres_server, s3_server

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
