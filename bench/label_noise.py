"""How many planted label errors stand in label_review.csv, and how far up?

    python bench/label_noise.py EXPERIMENT_DIR [--share 0.05] [--seeds 3]

Reads the split and the encoded data that the experiment's `handful run` left in its store, and
changes nothing. See bench/truth_parts/noise.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from truth_parts.noise import noise

from handful.experiment.context import open_experiment
from handful.progress import Silent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are flipped")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the flipped labels")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        noise(open_experiment(told.experiment, (), Silent(), Path(scratch)), told.share, told.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
