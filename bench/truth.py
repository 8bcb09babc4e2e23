"""Can the product's verdicts be believed? Synthetic results with a known answer.

    python bench/truth.py verdicts [--pairs 4000]
    python bench/truth.py intervals [--draws 1000]

verdicts   pairs of equally good models: how often a difference is claimed (at most 5 % is wanted);
           families of five of them, corrected together; and how often a real difference is found
intervals  how often the 95 % intervals of metrics, and of their differences, hold the true value

Everything is drawn from fixed seeds. Leaves with 1 if a limit was missed.
"""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    told = _parser().parse_args()
    match told.command:
        case "verdicts":
            from truth_parts.verdicts import verdicts

            return _status(verdicts(told.pairs))
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
    one.add_argument("--draws", type=int, default=1_000, help="test splits of each kind")
    return parser


if __name__ == "__main__":
    sys.exit(main())
