"""What checksums and the lock cost each step: their share of the CPU of all its processes.

    python bench/steps.py [EXP] [--epochs 1]

`EXP` is an experiment whose production is there (the demo's by default); its steps run in a store
of their own. Hashes that a step needs for its own sake (near-duplicates, draws, fingerprints) do
not count. Leaves with 1 if a limit was missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from timing import run

ROOT = Path(__file__).parents[1]
HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
STEPS = ("reconcile", "prepare", "train", "test", "compare", "report", "status", "run")
AT_MOST = 0.02
"""Of a step's CPU seconds."""


class Seconds(NamedTuple):
    """Of the CPU, of one step's processes together."""

    all: float
    hashing: float
    lock: float


def main() -> int:
    told = _parser().parse_args()
    kept = True
    experiment = told.experiment.resolve()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=experiment.parent) as folder:
        mine = Path(folder) / experiment.name
        # One level deeper than it was: what its settings name relative to it is linked there.
        shutil.copytree(experiment, mine)
        for other in experiment.parent.iterdir():
            if other.is_dir() and other not in (experiment, Path(folder)) and other.name != "store":
                (Path(folder) / other.name).symlink_to(other)
        for step in STEPS:
            seconds = _seconds(step, mine, Path(folder) / "told" / step, told.epochs)
            share = (seconds.hashing + seconds.lock) / seconds.all
            is_kept = share <= AT_MOST
            kept = kept and is_kept
            print(
                f"{step:10} {seconds.all:8.2f} s of CPU, {seconds.hashing:7.3f} s of checksums,"
                f" {seconds.lock:7.3f} s at the lock: {share:6.2%}"
                f"   ≤ {AT_MOST:.0%}: {'kept' if is_kept else 'MISSED'}",
                flush=True,
            )
    return 0 if kept else 1


def _seconds(step: str, experiment: Path, told: Path, epochs: int) -> Seconds:
    told.mkdir(parents=True)
    here = str(Path(__file__).parent / "steps_parts")
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
    changed = ["--set", f"train.EPOCHS={epochs}"] if step != "status" else []
    sample = run(
        [HANDFUL, step, str(experiment), *changed], {"PYTHONPATH": path, "STEPS_TOLD": str(told)}
    )
    if sample.status:
        raise SystemExit(f"handful {step} ended with {sample.status}")
    each = [struct.unpack("dd", place.read_bytes()) for place in told.iterdir()]
    return Seconds(sample.cpu, sum(one for one, _ in each), sum(other for _, other in each))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    demo = ROOT / "examples/EXP-0001-licences"
    parser.add_argument("experiment", nargs="?", type=Path, default=demo)
    parser.add_argument("--epochs", type=int, default=1, help="of the training")
    return parser


if __name__ == "__main__":
    sys.exit(main())
