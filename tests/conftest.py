"""Fixtures for all tests; the servers start only when a test asks for them."""

from __future__ import annotations

import sys
from pathlib import Path

# With `--import-mode=importlib` no test folder is on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))

from servers import postgres, postgres_server, s3_server

__all__ = ["postgres", "postgres_server", "s3_server"]
