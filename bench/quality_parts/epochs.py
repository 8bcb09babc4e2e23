"""Trains an encoded experiment with whatever handful is imported, and prints when epochs ended.

    PYTHONPATH=SRC python bench/quality_parts/epochs.py DIRECTORY

Prints, as JSON, the seconds between the ends of its epochs (of the first with all that has to be
computed before it), and the validation's METRIC after each.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.pop(0)  # its own folder has a module `datasets`
sys.path.insert(0, str(Path(__file__).parents[1]))

from train_parts import encoded

from handful.backends.inline import Inline
from handful.experiment.context import open_experiment
from handful.progress import Silent
from handful.steps.train import train

ENDED = re.compile(r"epoch (\d+): (\w+) ([\d.]+) on validation")


class Clock(Silent):
    """Notes when an epoch ended, and how good it was."""

    def __init__(self) -> None:
        self.ends = [time.monotonic()]
        self.values: list[float] = []

    def note(self, message: str) -> None:
        found = ENDED.search(message)
        if found and int(found[1]):
            self.ends.append(time.monotonic())
            self.values.append(float(found[3]))


def main(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        clock = Clock()
        opened = open_experiment(directory, (), clock, Path(scratch))
        clock.ends = [time.monotonic()]
        train(opened, encoded.prepared(directory), Inline(), made_from={})
    pairs = zip(clock.ends, clock.ends[1:], strict=False)
    print(json.dumps({"seconds": [b - a for a, b in pairs], "values": clock.values}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
