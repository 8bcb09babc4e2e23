"""How long does the report take, how large is it, and what does it look like?

    python bench/report.py [--artifacts 100000] [--labels 20] [--models 3] [--keep FOLDER]

Makes up an experiment that is done up to `test`, with so many test artifacts, and a document for
every mistake, in a local store; `compare` and `report` then run as ever. Every round is a process
of its own, as the command line is. The bars: 20 seconds, 3 MB.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report_parts.made_up import MadeUp, make

SECONDS, BYTES = 20.0, 3_000_000


def timed(made: MadeUp) -> float:
    """Seconds of `report` in a fresh process, its imports included."""
    command = [sys.executable, __file__, "--only", str(made.root)]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifacts", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--keep", type=Path, help="leave the experiment there, or take it from there"
    )
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        MadeUp(options.only).report()
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch) / "made-up"
        if root.exists():
            made = MadeUp(root)
        else:
            made = make(root, options.artifacts, options.labels, options.models)
        started = time.perf_counter()
        made.compare()
        compared = time.perf_counter() - started
        seconds = [timed(made) for _ in range(options.rounds)]
        size = made.page.stat().st_size
    median = statistics.median(seconds)
    told = ", ".join(f"{one:.1f}" for one in seconds)
    print(
        f"{options.artifacts:,} test artifacts, {options.labels} labels, {options.models} models "
        f"and two baselines"
    )
    print(f"  compare: {compared:.1f} s (bootstrap and tests of all pairs)")
    fast, small = median <= SECONDS, size < BYTES
    print(f"  report: {median:.1f} s ({told}), bar {SECONDS:g}: {'met' if fast else 'MISSED'}")
    print(f"  its size: {size:,} bytes, bar {BYTES:,}: {'met' if small else 'MISSED'}")
    return 0 if fast and small else 1


if __name__ == "__main__":
    sys.exit(main())
