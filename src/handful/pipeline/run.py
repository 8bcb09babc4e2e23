"""The story: the steps in their order, what is up to date, and who runs where.

    reconcile → prepare → tune → train → test → compare → report

Each step takes the records of those before it and hands on its own. A record is saved in the
experiment's store when its step is done, with the fingerprint of what it was made from; a step
whose fingerprint still stands is not run again, and the reason is told either way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from handful.errors import UserError
from handful.experiment.context import Experiment
from handful.experiment.forgotten import refuse_half_forgotten
from handful.experiment.step_files import files_of
from handful.experiment.store_format import is_marked, keep_what_runs
from handful.pipeline.managed_jobs import purse_of, run_managed_reconcile
from handful.pipeline.production import refuse_overlap
from handful.pipeline.progress_file import publish_progress
from handful.pipeline.step import Choice, Records, Step
from handful.pipeline.step_status import as_it_stands, begin, look, told
from handful.pipeline.steps import STEP_NAMES, STEPS
from handful.records import Record
from handful.records.moments import current_moment
from handful.steps.results import tell_again
from handful.user_functions.source_hash import function_hashes

_RUN_LOG = logging.getLogger(__name__)


def run(experiment: Experiment, choice: Choice) -> Mapping[str, Record]:
    """Bring every chosen step up to date; the records, by step."""
    first, last = _bounds(choice)
    # Before the first write: is functions.py there and whole, and may this store be ours?
    function_hashes(experiment.directory)
    if first == 0:  # later steps, if there is nothing to do, only read
        refuse_overlap(experiment.settings, experiment.store, experiment.directory)
    is_marked(experiment.store)
    refuse_half_forgotten(experiment.store, experiment.directory)
    records: Records = {}
    purse = purse_of(experiment, STEPS, select_pipeline_steps(choice), choice)
    for index, step in enumerate(STEPS[: last + 1]):
        nothing_asked = step.name == "tune" and not experiment.settings.tune.is_asked
        if index < first and not nothing_asked:
            records[step.name] = as_it_stands(experiment, step, records, verify=choice.verify)
            continue
        state = look(experiment, step, records, verify=choice.verify)
        if not state.reasons and step.name not in choice.again:
            state.check()  # else it is made again, and compares what it reads
        if state.record and state.up_to_date and step.name not in choice.again:
            experiment.progress.note(f"{step.name}: up to date{told(state.record)}")
            records[step.name] = state.record
            if index == last:
                mine, settings = experiment.layout, experiment.settings
                tell_again(experiment.store, mine, settings, experiment.progress, state.record)
            continue
        why = state.reason or "asked to do it again"
        experiment.progress.note(f"{step.name}: {why}")
        if purse is None:
            records[step.name] = _run_pipeline_step(experiment, step, records, choice)
            continue
        began = time.monotonic()
        within = replace(experiment, longest=purse.before(step.name))
        records[step.name] = _run_pipeline_step(within, step, records, choice)
        purse.after(step.name, time.monotonic() - began)
    return records


def _run_pipeline_step(
    experiment: Experiment, step: Step, records: Records, choice: Choice
) -> Record:
    from handful.storage.lock import hold_lock

    refuse_overlap(experiment.settings, experiment.store, experiment.directory)
    if step.name == "reconcile" and experiment.settings.sagemaker.RECONCILE_AS_JOB:
        return run_managed_reconcile(experiment, step, choice)
    started = time.monotonic()
    doing = f"{step.name} of {experiment.settings.experiment.NAME}"
    with hold_lock(experiment.store, step.locked_at(experiment), doing) as held:
        # Should the lock be lost, this process stops at its next write.
        mine = replace(experiment, store=held.store)
        keep_what_runs(mine.store, mine.directory, mine.overrides)
        before = begin(mine, step, again=step.name in choice.again)
        made_from = step.made_from(mine, records)
        killed = held.after_dead
        with publish_progress(mine.progress, mine.store, step.name, after_kill=killed) as told_too:
            watched = replace(mine, progress=told_too)
            record = step.run(watched, records, made_from, choice)
        record = replace(
            record,
            seconds=round(time.monotonic() - started, 3),
            finished_at=current_moment(),
            files=files_of(mine.store, mine.layout, record, before),
        )
        mine.store.write(step.kept_at(mine), record.to_json())
        held.check()  # who slept meanwhile shall know that this record may not be the last
    _RUN_LOG.debug("%s took %.1f s", step.name, record.seconds)
    return record


def select_pipeline_steps(choice: Choice) -> tuple[Step, ...]:
    """The steps from the first to the last that a call wants."""
    first, last = _bounds(choice)
    return STEPS[first : last + 1]


def _bounds(choice: Choice) -> tuple[int, int]:
    first = STEP_NAMES.index(choice.first) if choice.first else 0
    last = STEP_NAMES.index(choice.last) if choice.last else len(STEPS) - 1
    if first > last:
        raise UserError(f"--from {choice.first} comes after --until {choice.last}")
    # Whoever asks for the report wants the verdict in it; that only reads what test has left.
    return min(first, STEP_NAMES.index("compare")), last
