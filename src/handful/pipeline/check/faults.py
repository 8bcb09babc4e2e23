"""What would stop a run and needs nothing tried: damage, a lock, a full or closed disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from handful.errors import Denied, Full
from handful.experiment.context import Experiment
from handful.pipeline.check.estimate import describe_bytes
from handful.pipeline.check.plan import (
    DiskNeed,
    ForeseenProblem,
    PlannedWork,
    ProblemLog,
    Span,
)
from handful.pipeline.step import State
from handful.pipeline.step_status import in_progress
from handful.pipeline.steps import STEPS

_STORE_PARTS = {
    "reconcile": "copies",
    "prepare": "encoded data",
    "tune": "checkpoints",
    "train": "checkpoints and final models",
}


def foresee_faults(experiment: Experiment, found: Sequence[State], log: ProblemLog) -> None:
    """What the store itself tells: damaged files, somebody at work, no right to write."""
    for state in found:
        for damage in state.damage[:1]:
            log.foresee(state.step, damage)
    for step, lines in in_progress(experiment, STEPS).items():
        for line in lines:
            if line.startswith("in progress"):
                what = f"somebody is at work: {line.removeprefix('in progress: ')}"
                remedy = "wait for its end: `handful status EXP --watch` shows it"
                log.problems.append(ForeseenProblem(step, True, what, remedy))
    first = next((state.step for state in found if not state.up_to_date), None)
    place = _nearest_folder(experiment.store.url)
    if first and place is not None and not os.access(place, os.W_OK | os.X_OK):
        remedy = "give yourself the right, or name another [experiment] STORE"
        log.foresee(first, Denied("nothing can be written", where=str(place), remedy=remedy))


def disk_needs(
    experiment: Experiment, steps: Sequence[PlannedWork], log: ProblemLog
) -> tuple[DiskNeed, ...]:
    """What the store and the scratch folder have to hold; what does not fit is a problem."""
    store = _nearest_folder(experiment.store.url)
    scratch = Path(tempfile.gettempdir())
    nothing = Span(0, 0)
    needs = (
        DiskNeed(
            "store",
            experiment.store.url,
            sum((one.store_bytes for one in steps), nothing),
            {_STORE_PARTS[one.step]: one.store_bytes for one in steps if one.store_bytes.high},
            None if store is None else shutil.disk_usage(store).free,
        ),
        DiskNeed(
            "scratch",
            str(scratch),
            # One step after the other, each of which cleans up behind itself.
            max((one.scratch_bytes for one in steps), key=lambda one: one.high, default=nothing),
            {},
            shutil.disk_usage(scratch).free,
        ),
    )
    for need in needs:
        _foresee_shortage(need, steps, log)
    return needs


def _foresee_shortage(need: DiskNeed, steps: Sequence[PlannedWork], log: ProblemLog) -> None:
    """In the step that would meet it first."""
    if need.free is None:
        return
    so_far = Span(0, 0)
    for one in steps:
        mine = one.store_bytes if need.place == "store" else one.scratch_bytes
        so_far = so_far + mine if need.place == "store" else mine
        if mine.high and so_far.high > need.free:
            low, high, free = map(describe_bytes, (so_far.low, so_far.high, need.free))
            what = f"the {need.place} has {free} free, and {low} to {high} are needed"
            variable = " (TMPDIR)" if need.place == "scratch" else ""
            remedy = f"make room, or use another disk{variable}"
            if so_far.low > need.free:
                log.foresee(one.step, Full(what, where=need.where, remedy=remedy))
            else:
                log.problems.append(
                    ForeseenProblem(one.step, False, f"{need.where}: {what}", remedy)
                )
            return


def _nearest_folder(url: str) -> Path | None:
    """The folder that is there, of a local store that may not be; None for a remote one."""
    if "://" in url:
        return None
    place = Path(url)
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
