"""The story: the steps in their order, what is up to date, and who runs where.

    reconcile → prepare → tune → train → test → compare → report

Each step takes the records of those before it and hands on its own. A record is saved in the
experiment's store when its step is done, with the fingerprint of what it was made from; a step
whose fingerprint still stands is not run again, and the reason is told either way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from handful import layout
from handful.errors import UserError
from handful.experiment import fingerprint
from handful.experiment.context import Experiment
from handful.experiment.step_files import files_of
from handful.experiment.store_format import is_marked, keep_what_runs
from handful.pipeline.managed_jobs import purse_of, run_managed_reconcile
from handful.pipeline.production import production_files, production_labels, refuse_overlap
from handful.pipeline.step import Choice, Records, Step, select_record_by_class
from handful.pipeline.step_status import as_it_stands, begin, look, told
from handful.records import (
    Compared,
    Fingerprint,
    Prepared,
    Reconciled,
    Record,
    Reported,
    Tested,
    Trained,
    Tuned,
)
from handful.steps.results import tell_again
from handful.user_functions.source_hash import function_hashes

# --- the steps, in order: how each is done -------------------------------------------------------


def _reconcile(
    experiment: Experiment, _: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.steps.reconcile import reconcile
    from handful.user_functions.load import load_functions

    # A fault of functions.py should not wait until everything has been copied.
    load_functions(experiment.directory)
    return reconcile(
        experiment,
        production_labels(experiment),
        production_files(experiment),
        made_from=made_from,
        refresh=choice.refresh,
        prune=choice.prune,
        compare_contents="reconcile" in choice.redo,
    )


def _prepare(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.steps.prepare import prepare, start_over

    redo = "prepare" in choice.redo
    if experiment.settings.compute.BACKEND == "sagemaker":
        from handful.sagemaker.jobs.shares import encode_shares

        encode_shares(experiment, made_from, (lambda: start_over(experiment)) if redo else None)
        redo = False  # the instances began anew, and here their shards are joined
    return prepare(
        experiment, select_record_by_class(records, Reconciled), made_from=made_from, redo=redo
    )


def _tune(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.pipeline.open_backend import open_backend
    from handful.steps.tune import tune

    prepared, backend = select_record_by_class(records, Prepared), open_backend(experiment)
    return tune(experiment, prepared, backend, made_from=made_from, anew="tune" in choice.redo)


def _train(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.pipeline.open_backend import open_backend
    from handful.steps.train import Anew, train

    anew = Anew.WHAT_CHANGED
    if "train" in choice.redo:
        anew = Anew.EVERYTHING
    elif choice.resume_anyway:
        anew = Anew.NOTHING_THAT_WAS_BEGUN
    return train(
        experiment,
        select_record_by_class(records, Prepared),
        choice.trainers or open_backend(experiment),
        made_from=made_from,
        anew=anew,
        tuned=select_record_by_class(records, Tuned),
        machines=choice.trainers.machines if choice.trainers else 1,
    )


def _test(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.pipeline.open_backend import open_backend
    from handful.steps.test import test

    return test(
        experiment,
        select_record_by_class(records, Prepared),
        select_record_by_class(records, Trained),
        open_backend(experiment),
        made_from=made_from,
        tuned=select_record_by_class(records, Tuned),
    )


def _compare(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.compare import compare

    return compare(
        experiment,
        select_record_by_class(records, Prepared),
        select_record_by_class(records, Trained),
        select_record_by_class(records, Tested),
        made_from=made_from,
    )


def _report(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.report import report

    return report(
        experiment,
        select_record_by_class(records, Reconciled),
        select_record_by_class(records, Prepared),
        select_record_by_class(records, Trained),
        select_record_by_class(records, Tested),
        made_from=made_from,
    )


# --- the steps, in order: what each is made from, and where it is kept ---------------------------


def _second_try(experiment: Experiment, prepared: Prepared) -> list[str]:
    if not any(prepared.quarantined.values()):
        return []
    from handful.steps.prepare.second_try import reasons

    return reasons(experiment, prepared)


def _of_compare(experiment: Experiment, records: Records) -> Fingerprint:
    from handful.steps.compare.baselines import baseline_files

    trained, tested = (
        select_record_by_class(records, Trained),
        select_record_by_class(records, Tested),
    )
    return fingerprint.of_compare(experiment.settings, trained, tested, baseline_files(experiment))


def _of_test(experiment: Experiment, tested: Tested) -> list[str]:
    """The predictions, and each probe as a trained model."""
    mine, head = experiment.layout, f"{layout.BASELINE_PROBE}--"
    probes = [x.model.removeprefix(head) for x in tested.baselines if x.model.startswith(head)]
    return [
        *(mine.predictions(x.model, x.seed) for x in (*tested.evaluations, *tested.baselines)),
        *(f"{mine.probe_final(model)}/{layout.FINAL_RECORD}" for model in probes),
    ]


STEPS: tuple[Step, ...] = (
    Step(
        "reconcile",
        Reconciled,
        lambda _: layout.RECONCILED,
        lambda e, _: fingerprint.of_reconcile(e.directory, e.settings),
        lambda _: layout.LOCK,
        lambda _, __: [layout.LEDGER, layout.SNAPSHOT],
        _reconcile,
    ),
    Step(
        "prepare",
        Prepared,
        lambda e: e.layout.prepared_record,
        lambda e, r: fingerprint.of_prepare(
            e.directory, e.settings, select_record_by_class(r, Reconciled)
        ),
        lambda e: e.layout.prepared_lock,
        lambda e, _: [e.layout.splits, e.layout.label2id],
        _prepare,
        _second_try,
    ),
    Step(
        "tune",
        Tuned,
        lambda e: e.layout.tuned_record,
        lambda e, r: fingerprint.of_tune(
            e.directory, e.settings, select_record_by_class(r, Prepared)
        ),
        lambda e: e.layout.results_lock,
        lambda e, tuned: [f"{e.layout.tuning(x.model)}/{layout.TUNING}" for x in tuned.best],
        _tune,
    ),
    Step(
        "train",
        Trained,
        lambda e: e.layout.trained_record,
        lambda e, r: {
            **fingerprint.of_train(e.directory, e.settings, select_record_by_class(r, Prepared)),
            **fingerprint.of_tuned(select_record_by_class(r, Tuned)),
        },
        lambda e: e.layout.results_lock,
        lambda e, trained: [
            f"{e.layout.final(run.model, run.seed)}/{layout.FINAL_RECORD}" for run in trained.runs
        ],
        _train,
    ),
    Step(
        "test",
        Tested,
        lambda e: e.layout.tested_record,
        lambda e, r: {
            **fingerprint.of_test(
                e.directory,
                e.settings,
                select_record_by_class(r, Prepared),
                select_record_by_class(r, Trained),
            ),
            **fingerprint.of_tuned(select_record_by_class(r, Tuned)),
        },
        lambda e: e.layout.results_lock,
        _of_test,
        _test,
    ),
    Step(
        "compare",
        Compared,
        lambda e: e.layout.compared_record,
        _of_compare,
        lambda e: e.layout.results_lock,
        lambda e, _: [e.layout.comparison],
        _compare,
    ),
    Step(
        "report",
        Reported,
        lambda e: e.layout.reported_record,
        lambda e, r: fingerprint.of_report(e.settings, r.values()),
        lambda e: e.layout.results_lock,
        lambda _, reported: [reported.key],
        _report,
    ),
)
STEP_NAMES = tuple(step.name for step in STEPS)


# --- running them --------------------------------------------------------------------------------


def run(experiment: Experiment, choice: Choice) -> Mapping[str, Record]:
    """Bring every chosen step up to date; the records, by step."""
    first, last = _bounds(choice)
    # Before the first write: is functions.py there and whole, and may this store be ours?
    function_hashes(experiment.directory)
    if first == 0:  # later steps, if there is nothing to do, only read
        refuse_overlap(experiment)
    is_marked(experiment.store)
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
                tell_again(experiment, state.record)
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

    refuse_overlap(experiment)
    if step.name == "reconcile" and experiment.settings.sagemaker.RECONCILE_AS_JOB:
        return run_managed_reconcile(experiment, step, choice)
    started = time.monotonic()
    doing = f"{step.name} of {experiment.settings.experiment.NAME}"
    with hold_lock(experiment.store, step.locked_at(experiment), doing) as held:
        # Should the lock be lost, this process stops at its next write.
        mine = replace(experiment, store=held.store)
        keep_what_runs(mine)
        before = begin(mine, step, again=step.name in choice.again)
        record = step.run(mine, records, step.made_from(mine, records), choice)
        record = replace(
            record,
            seconds=round(time.monotonic() - started, 3),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            files=files_of(mine, record, before),
        )
        mine.store.write(step.kept_at(mine), record.to_json())
        held.check()  # who slept meanwhile shall know that this record may not be the last
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
