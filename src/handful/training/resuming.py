"""Whether an interrupted training goes on, from where, and what has to be as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.errors import UserError
from handful.fingerprint import differences
from handful.settings import TrainSection
from handful.training import runtime
from handful.training.checkpoints import Checkpoint, Checkpoints
from handful.training.holding import WHOLE
from handful.training.order import Order
from handful.training.team import Team

_MUST_MATCH = ("device", "precision", "threads", "processes")
"""What the bits of a result depend on; another version of torch is only warned about."""


def to_resume(order: Order, checkpoints: Checkpoints) -> Checkpoint | None:
    """The checkpoint to go on from. `UserError` if it was made from something else."""
    before = checkpoints.made_from()
    if before is None:
        return None
    changes = differences(before, order.made_from)
    if changes and order.trial is not None:
        checkpoints.remove_all()  # of another search: nobody waits for its end
        return None
    if changes and not order.resume_anyway:
        raise UserError(
            f"{order.name} was interrupted, and since then {'; '.join(changes)}",
            where="the checkpoints of an unfinished training",
            remedy="undo that, or start over with `--redo train`, or go on from the checkpoint "
            "all the same with `--resume-anyway`",
        )
    return checkpoints.last_good()


def found_by_all(
    found: Checkpoint | None, checkpoints: Checkpoints, team: Team
) -> Checkpoint | None:
    """The checkpoint that the leader found, on each process."""
    step = team.told(found.state.step if found else -1)
    if step < 0 or team.leads:
        return found
    return checkpoints.at(step)


def check_environment(
    order: Order, environment: Mapping[str, Any], found: Checkpoint | None
) -> None:
    """`UserError` if the interrupted run would go on to another end here."""
    if found is None:
        return
    earlier = {"sharding": WHOLE, **found.environment}
    if earlier["sharding"] != environment["sharding"]:
        raise UserError(
            f"{order.name} was interrupted with SHARDING = {earlier['sharding']}, whose "
            "checkpoints hold the optimizer in another form",
            where="[train] SHARDING",
            remedy="write it as it was, or start over with `--redo train`",
        )
    if order.resume_anyway:
        return
    before = {name: str(earlier.get(name)) for name in _MUST_MATCH}
    changes = differences(before, {name: str(environment[name]) for name in _MUST_MATCH})
    if changes:
        raise UserError(
            f"{order.name} was interrupted elsewhere: {'; '.join(changes)}; "
            "the result would not be the straight run's",
            where="the checkpoints of an unfinished training",
            remedy="run it as before, start over with `--redo train`, or go on all the same "
            "with `--resume-anyway`",
        )


def precision_of(section: TrainSection, found: Checkpoint | None) -> str:
    """What was measured before the interruption holds: a second probe might say otherwise."""
    before = found.environment.get("precision") if found else None
    if section.PRECISION == "auto" and before:
        return str(before)
    return runtime.chosen_precision(section.PRECISION)
