"""What is done in a round: all of it is drawn from the round's seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

RESULTS = "results/full_dataset"
OUTPUTS = {
    "reconcile": ("data/reconciliation", "data/reconciled_artifacts", "data/unique_labels"),
    "prepare": ("data/prepared_data",),
    "tune": (f"{RESULTS}/tuned.json", f"{RESULTS}/tuning"),
    # What test has learned of a model goes with the model.
    "train": (
        f"{RESULTS}/trained.json",
        f"{RESULTS}/models",
        f"{RESULTS}/tested.json",
        f"{RESULTS}/evaluation",
    ),
    "test": (f"{RESULTS}/tested.json", f"{RESULTS}/evaluation", f"{RESULTS}/label_review"),
    "compare": (f"{RESULTS}/compared.json", f"{RESULTS}/comparison.json"),
    "report": (f"{RESULTS}/reported.json", f"{RESULTS}/report.html"),
}
"""Step → how the keys begin that it writes."""
MARKERS = {
    "reconcile": ("data/reconciliation/reconciled.json",),
    "prepare": (
        "data/prepared_data/full_dataset/prepared.json",
        "data/prepared_data/full_dataset/model/encoded.json",
    ),
    "train": (f"{RESULTS}/trained.json",),
    "compare": (f"{RESULTS}/compared.json",),
    "report": (f"{RESULTS}/reported.json",),
}
"""Step → without these it is to be done, and finds what it has written."""
STEPS = tuple(OUTPUTS)
DEPTHS = ("marker", "whole", "on", "nothing")
"""Gone are: what says that the step is done; all that it wrote; what the steps after it wrote, too;
everything."""
KINDS = ("kill", "fault", "freeze", "full", "clock")
_WEIGHTS = {"kill": 36, "fault": 36, "freeze": 10, "full": 10, "clock": 8, "none": 1}
_STEP_WEIGHTS = (6, 6, 1, 2, 1, 4, 4)
_STORE_WEIGHTS = {"local": 5, "s3": 4}
FAULTS = (
    "503",
    "503",
    "503",
    "507",
    "403",
    "reset",
    "reset",
    "lost",
    "lost",
    "cut",
    "short",
    "flip",
)
HOUR = 3600.0


@dataclass(frozen=True)
class Disturbance:
    """One thing that is done to a running command."""

    kind: str
    fraction: float
    """When: this part of the step's changes, requests or seconds."""
    by_clock: bool
    """By seconds rather than by changes or requests."""
    after: bool
    """After the change that it comes with, rather than before it."""
    seed: int
    """Of what else is drawn."""

    def chance(self) -> random.Random:
        return random.Random(self.seed)


@dataclass(frozen=True)
class Round:
    """A state to begin from, and what is done then."""

    seed: int
    store: str
    step: str
    depth: str
    disturbances: tuple[Disturbance, ...]

    @property
    def state(self) -> str:
        return "nothing" if self.depth == "nothing" else f"{self.step}:{self.depth}"

    @property
    def kind(self) -> str:
        return "+".join(one.kind for one in self.disturbances)

    @property
    def share(self) -> float:
        """Of what the whole step takes, about so much is left to do."""
        return 0.5 if self.depth == "marker" else 1.0

    def is_gone(self, key: str) -> bool:
        """Is the file at `key` missing where the round begins?"""
        if self.depth == "nothing":
            return True
        if self.depth == "marker":
            return key in MARKERS[self.step]
        last = len(STEPS) if self.depth == "on" else STEPS.index(self.step) + 1
        steps = STEPS[STEPS.index(self.step) : last]
        return any(key.startswith(OUTPUTS[step]) for step in steps)


def draw(seed: int, kinds: Sequence[str], stores: Sequence[str]) -> Round:
    """The round of that seed."""
    chance = random.Random(seed)
    (kind,) = chance.choices(kinds, [_WEIGHTS[kind] for kind in kinds])
    store = _store(chance, kind, stores)
    (step,) = chance.choices(STEPS, _STEP_WEIGHTS)
    (depth,) = chance.choices(DEPTHS, (45, 50, 4, 1))
    if depth == "marker" and step not in MARKERS:
        depth = "whole"
    # The plain run and the look at everything cost as much as a disturbance does.
    (count,) = chance.choices((1, 2, 3, 4), (30, 30, 20, 20))
    more = [one for one in kinds if store == "s3" or one != "fault"] or [kind]
    drawn = [kind, *chance.choices(more, [_WEIGHTS[one] for one in more], k=count - 1)]
    disturbances = tuple(
        Disturbance(
            one,
            # What came before has left less to do.
            fraction=chance.random() ** number,
            by_clock=chance.random() < 0.3,
            after=chance.random() < 0.5,
            seed=chance.getrandbits(32),
        )
        for number, one in enumerate(drawn, start=1)
    )
    return Round(seed, store, step, depth, disturbances)


def _store(chance: random.Random, kind: str, stores: Sequence[str]) -> str:
    if kind == "fault" and "s3" in stores:
        return "s3"
    able = [one for one in stores if kind != "fault" or one == "s3"]
    (store,) = chance.choices(able, [_STORE_WEIGHTS[one] for one in able])
    return store
