"""The story: the steps in their order, what is up to date, and who runs where.

    reconcile → prepare → tune → train → test → compare → report

Each step takes the records of those before it and hands on its own. A record is saved in the
experiment's store when its step is done, with the fingerprint of what it was made from; a step
whose fingerprint still stands is not run again, and the reason is told either way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from handful import fingerprint, layout
from handful.errors import StepError, UserError
from handful.experiment import Experiment
from handful.mark import is_marked, keep_what_runs
from handful.production import production_files, production_labels
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
from handful.sources import function_hashes
from handful.standing import as_it_stands, kept_record, look, states, told
from handful.step import Choice, Records, Step

if TYPE_CHECKING:
    from handful.backends.sagemaker.paying import Purse
    from handful.backends.sagemaker.preview import Planned

# --- the steps, in order -------------------------------------------------------------------------


def _reconcile(
    experiment: Experiment, _: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.functions import load_functions
    from handful.steps.reconcile import reconcile

    # A fault of functions.py should not wait until everything has been copied.
    load_functions(experiment.directory)
    return reconcile(
        experiment,
        production_labels(experiment),
        production_files(experiment),
        made_from=made_from,
        refresh=choice.refresh,
        prune=choice.prune,
    )


def _prepare(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.steps.prepare import prepare, start_over

    reconciled, redo = cast(Reconciled, records["reconcile"]), "prepare" in choice.redo
    if experiment.settings.compute.BACKEND == "sagemaker":
        from handful.backends.sagemaker.shares import encode_shares

        encode_shares(experiment, made_from, (lambda: start_over(experiment)) if redo else None)
        redo = False  # the instances began anew, and here their shards are joined
    return prepare(experiment, reconciled, made_from=made_from, redo=redo)


def prepare_share(experiment: Experiment, worker: int, of: int) -> None:
    """Encode one of `of` machines' shares of the shards; a last `prepare` joins them all.

    `UserError` if reconcile has not been done, or there is no such machine.
    """
    from handful.steps.prepare import Share, encode_share
    from handful.storage.guarded import Guarded
    from handful.storage.lock import locked

    if not 0 <= worker < of:
        raise UserError(
            f"there is no worker {worker} of {of}",
            where="--worker",
            remedy=f"workers are counted from 0, so the last one is {max(of - 1, 0)}",
        )
    reconciled = cast(Reconciled, as_it_stands(experiment, STEPS[0], {}))
    doing = f"prepare, worker {worker} of {of}, of {experiment.settings.experiment.NAME}"
    folder = f"{experiment.layout.prepared_lock}-worker-{worker}"
    with locked(experiment.store, folder, doing) as held:
        mine = replace(experiment, store=Guarded(experiment.store, held.check))
        count = encode_share(mine, reconciled, Share(worker, of))
    experiment.progress.note(f"prepare: worker {worker} of {of} has encoded {count:,} shards")


def _tune(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.backends.open import open_backend
    from handful.steps.tune import tune

    prepared = cast(Prepared, records["prepare"])
    anew = "tune" in choice.redo
    return tune(experiment, prepared, open_backend(experiment), made_from=made_from, anew=anew)


def _tuned(experiment: Experiment, tuned: Tuned) -> list[str]:
    folder = experiment.layout.tuning
    return [f"{folder(best.model)}/{layout.TUNING}" for best in tuned.best]


def _train(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.backends.open import open_backend
    from handful.steps.train import Anew, train

    anew = Anew.WHAT_CHANGED
    if "train" in choice.redo:
        anew = Anew.EVERYTHING
    elif choice.resume_anyway:
        anew = Anew.NOTHING_THAT_WAS_BEGUN
    prepared = cast(Prepared, records["prepare"])
    tuned = cast(Tuned, records["tune"])
    return train(
        experiment,
        prepared,
        choice.trainers or open_backend(experiment),
        made_from=made_from,
        anew=anew,
        tuned=tuned,
        machines=choice.trainers.machines if choice.trainers else 1,
    )


def train_together(experiment: Experiment, choice: Choice, hosts_file: Path, port: int) -> None:
    """Train on several machines: on the first of them the step itself, on the others their part.

    Nothing but the training itself is done on the others; they write nothing of their own.
    """
    from handful.backends.launch import Hosts
    from handful.backends.nodes import Nodes, follow
    from handful.steps.train import processes_here

    if experiment.settings.compute.BACKEND != "local":
        raise UserError(
            "starts its machines by itself",
            where="[compute] BACKEND",
            remedy="leave --hosts out, or --set compute.BACKEND=local",
        )
    hosts, here = Hosts.read(hosts_file), processes_here(experiment)
    if hosts.rank:
        function_hashes(experiment.directory)
        jobs = follow(experiment.directory, hosts, port, here, experiment.progress)
        experiment.progress.note(f"train: {hosts.hosts[0]} is done; {jobs} trained together")
        return
    nodes = Nodes(hosts, port)
    run(experiment, replace(choice, trainers=nodes))
    nodes.part(experiment.directory, experiment.progress, here)


def _test(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.backends.open import open_backend
    from handful.steps.test import test

    prepared, trained = cast(Prepared, records["prepare"]), cast(Trained, records["train"])
    tuned, backend = cast(Tuned, records["tune"]), open_backend(experiment)
    return test(experiment, prepared, trained, backend, made_from=made_from, tuned=tuned)


def _of_compare(experiment: Experiment, records: Records) -> Fingerprint:
    from handful.steps.compare.baselines import baseline_files

    trained, tested = cast(Trained, records["train"]), cast(Tested, records["test"])
    return fingerprint.of_compare(experiment.settings, trained, tested, baseline_files(experiment))


def _compare(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.compare import compare

    return compare(
        experiment,
        cast(Prepared, records["prepare"]),
        cast(Trained, records["train"]),
        cast(Tested, records["test"]),
        made_from=made_from,
    )


def compare_across(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """The chosen models of several experiments, on what all tested and none trained on.

    Only reads. `UserError` if an experiment has not been compared yet, `DataError` if their
    labels differ or no artifact is left.
    """
    from handful.steps.compare.across import Side, across

    sides = []
    for experiment in experiments:
        records: Records = {}
        for step in STEPS[: STEP_NAMES.index("compare") + 1]:
            records[step.name] = as_it_stands(experiment, step, records)
        sides.append(
            Side(
                experiment,
                cast(Prepared, records["prepare"]),
                cast(Tested, records["test"]),
                cast(Compared, records["compare"]),
            )
        )
    return across(sides)


def _report(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.report import report

    return report(
        experiment,
        cast(Reconciled, records["reconcile"]),
        cast(Prepared, records["prepare"]),
        cast(Trained, records["train"]),
        cast(Tested, records["test"]),
        made_from=made_from,
    )


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
            e.directory, e.settings, cast(Reconciled, r["reconcile"])
        ),
        lambda e: e.layout.prepared_lock,
        lambda e, _: [e.layout.splits, e.layout.label2id],
        _prepare,
    ),
    Step(
        "tune",
        Tuned,
        lambda e: e.layout.tuned_record,
        lambda e, r: fingerprint.of_tune(e.directory, e.settings, cast(Prepared, r["prepare"])),
        lambda e: e.layout.results_lock,
        _tuned,
        _tune,
    ),
    Step(
        "train",
        Trained,
        lambda e: e.layout.trained_record,
        lambda e, r: {
            **fingerprint.of_train(e.directory, e.settings, cast(Prepared, r["prepare"])),
            **fingerprint.of_tuned(cast(Tuned, r["tune"])),
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
                e.directory, e.settings, cast(Prepared, r["prepare"]), cast(Trained, r["train"])
            ),
            **fingerprint.of_tuned(cast(Tuned, r["tune"])),
        },
        lambda e: e.layout.results_lock,
        lambda e, tested: [
            e.layout.predictions(x.model, x.seed) for x in (*tested.evaluations, *tested.baselines)
        ],
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
    is_marked(experiment.store)
    records: Records = {}
    purse = _purse(experiment, choice)
    for index, step in enumerate(STEPS[: last + 1]):
        nothing_asked = step.name == "tune" and experiment.settings.tune.TRIALS is None
        if index < first and not nothing_asked:
            records[step.name] = as_it_stands(experiment, step, records)
            continue
        state = look(experiment, step, records)
        if state.record and state.up_to_date and step.name not in choice.redo | _refreshed(choice):
            experiment.progress.note(f"{step.name}: up to date{told(state.record)}")
            records[step.name] = state.record
            continue
        why = state.reason or "asked to do it again"
        experiment.progress.note(f"{step.name}: {why}")
        if purse is None:
            records[step.name] = _run(experiment, step, records, choice)
            continue
        began = time.monotonic()
        within = replace(experiment, longest=purse.before(step.name))
        records[step.name] = _run(within, step, records, choice)
        purse.after(step.name, time.monotonic() - began)
    return records


def _purse(experiment: Experiment, choice: Choice) -> Purse | None:
    """What the run may cost on managed machines; None at home, which costs nothing."""
    if experiment.settings.compute.BACKEND != "sagemaker":
        return None
    from handful.backends.sagemaker.instances import STEPS as MANAGED
    from handful.backends.sagemaker.paying import Purse

    first, last = _bounds(choice)
    again = choice.redo | _refreshed(choice)
    to_do = {one.step for one in states(experiment, STEPS) if not one.up_to_date} | again
    chosen = [name for name in STEP_NAMES[first : last + 1] if name in to_do]
    there = ("reconcile",) if experiment.settings.sagemaker.RECONCILE_AS_JOB else ()
    return Purse(experiment, chosen, managed=(*there, *MANAGED))


def _run(experiment: Experiment, step: Step, records: Records, choice: Choice) -> Record:
    from handful.storage.guarded import Guarded
    from handful.storage.lock import locked

    if step.name == "reconcile" and experiment.settings.sagemaker.RECONCILE_AS_JOB:
        return _reconciled_there(experiment, step, choice)
    started = time.monotonic()
    doing = f"{step.name} of {experiment.settings.experiment.NAME}"
    with locked(experiment.store, step.locked_at(experiment), doing) as held:
        # Should the lock be lost, this process stops at its next write.
        mine = replace(experiment, store=Guarded(experiment.store, held.check))
        keep_what_runs(mine)
        record = step.run(mine, records, step.made_from(mine, records), choice)
        record = replace(
            record,
            seconds=round(time.monotonic() - started, 3),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        mine.store.write(step.kept_at(mine), record.to_json())
    return record


def _reconciled_there(experiment: Experiment, step: Step, choice: Choice) -> Record:
    """By a job, which holds the lock and writes the record; from here only what it is made from.

    The job sees other places than this machine does (a path, a login), so it would say otherwise.
    """
    from handful.backends.sagemaker.shares import reconcile_there
    from handful.storage.lock import locked

    made_from = step.made_from(experiment, {})
    wishes = {"refresh": choice.refresh, "prune": choice.prune, "redo": step.name in choice.redo}
    reconcile_there(experiment, made_from, {word for word, asked in wishes.items() if asked})
    with locked(experiment.store, step.locked_at(experiment), "noting what reconcile is made from"):
        keep_what_runs(experiment)
        record = kept_record(experiment, step)
        if record is None:
            raise StepError(
                "the job is done, but left no record",
                where=f"{experiment.store.url}/{step.kept_at(experiment)}",
                remedy="can its role write to the STORE? Run again to start it anew",
            )
        record = replace(record, made_from=made_from)
        experiment.store.write(step.kept_at(experiment), record.to_json())
    return record


def planned_requests(
    experiment: Experiment, choice: Choice, steps: Sequence[str]
) -> Sequence[Planned]:
    """What the chosen ones of `steps` would send to managed machines; nothing is sent or asked."""
    from handful.backends.sagemaker.preview import planned

    first, last = _bounds(choice)
    return planned(experiment, [step for step in STEP_NAMES[first : last + 1] if step in steps])


def _bounds(choice: Choice) -> tuple[int, int]:
    first = STEP_NAMES.index(choice.first) if choice.first else 0
    last = STEP_NAMES.index(choice.last) if choice.last else len(STEPS) - 1
    if first > last:
        raise UserError(f"--from {choice.first} comes after --until {choice.last}")
    return first, last


def _refreshed(choice: Choice) -> frozenset[str]:
    return frozenset({"reconcile"} if choice.refresh or choice.prune else ())
