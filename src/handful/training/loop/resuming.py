"""Whether an interrupted training goes on, from where, and what has to be as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.errors import UserError
from handful.experiment.fingerprint import differences
from handful.jobs.arguments import TrainArgs
from handful.settings import TrainSection
from handful.training.data.batches import Indices, Plan, epoch_batches
from handful.training.loop import runtime
from handful.training.loop.auto_batch import is_out_of_memory
from handful.training.loop.checkpoints import Checkpoint, Checkpoints
from handful.training.loop.loop import Loop
from handful.training.loop.parallel_strategy import WHOLE
from handful.training.loop.process_group import Team
from handful.training.loop.state import RunState

_MUST_MATCH = ("device", "precision", "threads", "processes")
"""What the bits of a result depend on; another version of torch is only warned about."""


def to_resume(order: TrainArgs, checkpoints: Checkpoints) -> Checkpoint | None:
    """The checkpoint to go on from. `UserError` if it was made from something else."""
    before = checkpoints.made_from()
    if before is None:
        return None
    changes = differences(before, order.made_from)
    if changes and order.trial is not None:
        checkpoints.forget()  # of another search: nobody waits for its end
        return None
    if changes and not order.resume_anyway:
        raise UserError(
            f"{order.name} was interrupted, and since then {'; '.join(changes)}",
            where="the checkpoints of an unfinished training",
            remedy="undo that, or start over with `--redo train`, or go on from the checkpoint "
            "all the same with `--resume-anyway`",
        )
    return checkpoints.last_good()


def share_leader_checkpoint(
    found: Checkpoint | None, checkpoints: Checkpoints, team: Team
) -> Checkpoint | None:
    """The checkpoint that the leader found, on each process."""
    step = team.told(found.state.step if found else -1)
    if step < 0 or team.leads:
        return found
    return checkpoints.at(step)


def check_environment(
    order: TrainArgs, environment: Mapping[str, Any], found: Checkpoint | None
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


def precision_of(section: TrainSection, found: Checkpoint | None, model: str) -> str:
    """What was measured before the interruption holds: a second probe might say otherwise."""
    before = found.environment.get("precision") if found else None
    if section.PRECISION == "auto" and before:
        return str(before)
    return runtime.resolve_model_precision(section.PRECISION, model)


def check_labels(order: TrainArgs, found: Checkpoint | None) -> None:
    """`UserError` if the checkpoint's outputs stand for other labels: no flag can mend that."""
    before = found.label2id if found else {}
    if not before or dict(before) == dict(order.label2id):
        return
    gone, new = sorted(before.keys() - order.label2id), sorted(order.label2id.keys() - before)
    sides = (("new:", new), ("gone:", gone))
    what = [f"{word} {', '.join(names[:5])}" for word, names in sides if names]
    raise UserError(
        f"{order.name} was interrupted with other labels ({'; '.join(what) or 'other ids'}): the "
        "checkpoint's outputs do not stand for those of now",
        where="the checkpoints of an unfinished training",
        remedy="start over with `--redo train`, or undo the change of labels",
    )


def go_on(loop: Loop, order: TrainArgs, found: Checkpoint) -> str:
    """Put `found` into `loop`; what to warn of. `UserError` if the weights do not fit the model."""
    work = loop.work
    told = adapt_state_to_batch_size(
        found.state, loop.plan, found.batch_size, work.train.lengths, work.seed
    )
    try:
        loop.restore(found)
    except (RuntimeError, ValueError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        changes = differences(found.made_from, order.made_from)
        words = " ".join(str(error).split())[:300]
        raise UserError(
            f"the checkpoint of {order.name} does not fit the model of now: "
            f"{'; '.join(changes) or 'load_model builds another one'} ({words})",
            where="the checkpoints of an unfinished training",
            remedy="undo that, or start over with `--redo train`",
        ) from error
    return told


def adapt_state_to_batch_size(
    state: RunState, plan: Plan, batch_size: int, lengths: Indices, seed: int
) -> str:
    """Let a run that began with batches of another size go on at the same example of its epoch.

    Args:
        batch_size: with which it was interrupted.
        lengths: [N] of the rows of now; `seed` draws their order.

    Steps are still counted on, so that a checkpoint never takes the place of an earlier one;
    `state.shift` says how many are too many or too few. What to tell; empty if nothing changed.
    """
    examples = state.examples or plan.examples
    before = Plan(examples, batch_size, plan.epochs, plan.smallest, state.shift)
    state.batch_size, state.examples = plan.batch_size, plan.examples
    same_rows = examples == plan.examples
    if (batch_size == plan.batch_size and same_rows) or not state.step:
        return ""
    epoch, done = before.place(state.step)

    def batches(size: int) -> int:
        cuts = state.cuts_of(epoch)
        return len(epoch_batches(lengths, size, seed, epoch, plan.smallest, cuts))

    if same_rows:
        steps = batches(batch_size) - (before.end_of(epoch) - state.step)
        cut = {"epoch": epoch, "batch_size": batch_size, "steps": steps, "smallest": plan.smallest}
        state.cuts += [cut] if steps else []
        left = batches(plan.batch_size)
    else:
        left = round((1 - done / before.steps_per_epoch) * plan.steps_per_epoch)
    if left == plan.steps_per_epoch and (done or state.cuts_of(epoch)):
        # By its steps to come it would seem to begin here, and the one before to wait for its
        # validation.
        state.validated = state.step
    # This epoch ends `left` steps from here.
    state.shift = state.step + left - (epoch + 1) * plan.steps_per_epoch
    state.per_device = 0
    changed = (
        "the training rows changed"
        if batch_size == plan.batch_size
        else f"BATCH_SIZE changed from {batch_size} to {plan.batch_size}"
    )
    return (
        f"{changed}: it goes on at epoch "
        f"{before.epoch_at(state.step):.2f} of {plan.epochs:g}, with what it has not seen of it, "
        "and at the learning rate of there"
    )
