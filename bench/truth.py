"""Can the product's verdicts be believed? Synthetic results with a known answer.

    python bench/truth.py verdicts [--pairs 4000]
    python bench/truth.py intervals [--draws 4000]
    python bench/truth.py scores [--draws 1000]
    python bench/truth.py calibration [--documents N] [--epochs 1] [--baseline] [--folder DIR]

verdicts   pairs of equally good models: how often a difference is claimed (at most 5 % is wanted);
           families of five of them, corrected together; and how often a real difference is found
intervals  how often the 95 % intervals of metrics, and of their differences, hold the true value
scores     the same for figures that need probabilities: ROC-AUC, average precision, log-loss,
           calibration error before and after scaling, and for the figures of one label
calibration  does the calibration error of a real model fall on Reuters R8? (trains it)

Everything is drawn from fixed seeds. Leaves with 1 if a limit was missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> int:
    told = _parser().parse_args()
    match told.command:
        case "verdicts":
            from truth_parts.verdicts import verdicts

            return _status(verdicts(told.pairs))
        case "scores":
            from truth_parts.scores import scores

            return _status(scores(told.draws))
        case "calibration":
            from truth_parts.calibration import calibration

            with tempfile.TemporaryDirectory() as scratch:
                return _status(
                    calibration(
                        Path(scratch), told.folder, told.documents, told.epochs, told.baseline
                    )
                )
        case _:
            from truth_parts.intervals import intervals

            return _status(intervals(told.draws))


def _status(kept: bool) -> int:
    return 0 if kept else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("verdicts")
    one.add_argument("--pairs", type=int, default=4_000, help="of each kind")
    one = commands.add_parser("intervals")
    one.add_argument("--draws", type=int, default=4_000, help="test splits of each kind")
    one = commands.add_parser("scores")
    one.add_argument("--draws", type=int, default=1_000, help="test splits of each kind")
    one = commands.add_parser("calibration")
    one.add_argument("--documents", type=int, help="of train; all by default")
    one.add_argument("--epochs", type=float, default=1)
    one.add_argument("--baseline", action="store_true", help="TF-IDF instead of MiniLM: seconds")
    one.add_argument("--folder", type=Path, help="keep the experiment there, or take it from there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
