"""The steps in their order: how each is done, what it is made from, and where it is kept."""

from __future__ import annotations

from functools import partial

from handful import layout
from handful.experiment import fingerprint
from handful.experiment.context import Experiment
from handful.pipeline.open_backend import open_backend
from handful.pipeline.production import production_files, production_labels
from handful.pipeline.step import Choice, Records, Step, get_record
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
        production_labels(experiment.settings, experiment.scratch, experiment.progress),
        production_files(experiment.settings),
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
    mine, models = experiment.layout, experiment.settings.train.MODEL_NAMES
    before_anew = partial(start_over, experiment.store, mine, models) if redo else None
    if open_backend(experiment).encode_shares(made_from, before_anew):
        redo = False  # that began anew, and here its shards are joined
    return prepare(experiment, get_record(records, Reconciled), made_from=made_from, redo=redo)


def _tune(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.steps.tune import tune

    prepared, backend = get_record(records, Prepared), open_backend(experiment)
    return tune(experiment, prepared, backend, made_from=made_from, anew="tune" in choice.redo)


def _train(
    experiment: Experiment, records: Records, made_from: Fingerprint, choice: Choice
) -> Record:
    from handful.steps.train import Anew, train

    anew = Anew.WHAT_CHANGED
    if "train" in choice.redo:
        anew = Anew.EVERYTHING
    elif choice.resume_anyway:
        anew = Anew.NOTHING_THAT_WAS_BEGUN
    return train(
        experiment,
        get_record(records, Prepared),
        choice.trainers or open_backend(experiment),
        made_from=made_from,
        anew=anew,
        tuned=get_record(records, Tuned),
    )


def _test(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.test import test

    return test(
        experiment,
        get_record(records, Prepared),
        get_record(records, Trained),
        open_backend(experiment),
        made_from=made_from,
        tuned=get_record(records, Tuned),
    )


def _compare(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.compare import compare

    return compare(
        experiment,
        get_record(records, Prepared),
        get_record(records, Trained),
        get_record(records, Tested),
        made_from=made_from,
    )


def _report(experiment: Experiment, records: Records, made_from: Fingerprint, _: Choice) -> Record:
    from handful.steps.report import report

    return report(
        experiment,
        get_record(records, Reconciled),
        get_record(records, Prepared),
        get_record(records, Trained),
        get_record(records, Tested),
        made_from=made_from,
    )


# --- the steps, in order: what each is made from, and where it is kept ---------------------------


def _second_try(experiment: Experiment, prepared: Prepared) -> list[str]:
    if not any(prepared.quarantined.values()):
        return []
    from handful.steps.prepare.second_try import reasons

    return reasons(experiment.store, experiment.layout, prepared)


def _of_compare(experiment: Experiment, records: Records) -> Fingerprint:
    from handful.steps.compare.baselines import baseline_files

    trained, tested = (
        get_record(records, Trained),
        get_record(records, Tested),
    )
    models = experiment.settings.train.MODEL_NAMES
    simple = baseline_files(experiment.store, experiment.layout, models)
    return fingerprint.of_compare(experiment.settings, trained, tested, simple)


def _of_test(mine: layout.Layout, tested: Tested) -> list[str]:
    """The predictions, and each probe as a trained model."""
    head = f"{layout.BASELINE_PROBE}--"
    probes = [x.model.removeprefix(head) for x in tested.baselines if x.model.startswith(head)]
    return [
        *(mine.predictions(x.model, x.seed) for x in (*tested.evaluations, *tested.baselines)),
        *(f"{mine.probe_final(model)}/{layout.FINAL_RECORD}" for model in probes),
    ]


STEPS: tuple[Step, ...] = (
    Step(
        name="reconcile",
        record=Reconciled,
        kept_at=lambda _: layout.RECONCILED,
        made_from=lambda e, _: fingerprint.of_reconcile(e.directory, e.settings),
        locked_at=lambda _: layout.LOCK,
        outputs=lambda _, __: [layout.LEDGER, layout.SNAPSHOT],
        run=_reconcile,
    ),
    Step(
        name="prepare",
        record=Prepared,
        kept_at=lambda e: e.layout.prepared_record,
        made_from=lambda e, r: fingerprint.of_prepare(
            e.directory, e.settings, get_record(r, Reconciled)
        ),
        locked_at=lambda e: e.layout.prepared_lock,
        outputs=lambda e, _: [e.layout.splits, e.layout.label2id],
        run=_prepare,
        again=_second_try,
    ),
    Step(
        name="tune",
        record=Tuned,
        kept_at=lambda e: e.layout.tuned_record,
        made_from=lambda e, r: fingerprint.of_tune(
            e.directory, e.settings, get_record(r, Prepared)
        ),
        locked_at=lambda e: e.layout.results_lock,
        outputs=lambda e, tuned: [
            f"{e.layout.tuning(x.model)}/{layout.TUNING}" for x in tuned.best
        ],
        run=_tune,
    ),
    Step(
        name="train",
        record=Trained,
        kept_at=lambda e: e.layout.trained_record,
        made_from=lambda e, r: {
            **fingerprint.of_train(e.directory, e.settings, get_record(r, Prepared)),
            **fingerprint.of_tuned(get_record(r, Tuned)),
        },
        locked_at=lambda e: e.layout.results_lock,
        outputs=lambda e, trained: [
            f"{e.layout.final(run.model, run.seed)}/{layout.FINAL_RECORD}" for run in trained.runs
        ],
        run=_train,
    ),
    Step(
        name="test",
        record=Tested,
        kept_at=lambda e: e.layout.tested_record,
        made_from=lambda e, r: {
            **fingerprint.of_test(
                e.directory,
                e.settings,
                get_record(r, Prepared),
                get_record(r, Trained),
            ),
            **fingerprint.of_tuned(get_record(r, Tuned)),
        },
        locked_at=lambda e: e.layout.results_lock,
        outputs=lambda e, tested: _of_test(e.layout, tested),
        run=_test,
    ),
    Step(
        name="compare",
        record=Compared,
        kept_at=lambda e: e.layout.compared_record,
        made_from=_of_compare,
        locked_at=lambda e: e.layout.results_lock,
        outputs=lambda e, _: [e.layout.comparison],
        run=_compare,
    ),
    Step(
        name="report",
        record=Reported,
        kept_at=lambda e: e.layout.reported_record,
        made_from=lambda e, r: fingerprint.of_report(e.settings, r.values()),
        locked_at=lambda e: e.layout.results_lock,
        outputs=lambda _, reported: [reported.key],
        run=_report,
    ),
)
STEP_NAMES = tuple(step.name for step in STEPS)
