"""`handful check`: everything that a run does, on three real artifacts, in a minute.

Before the first reconcile, three artifacts are taken from production into a private folder that is
removed afterwards: the real steps run there, on a sample of the label rows and of the listing.
Afterwards the experiment's own copies are used, read only. Nothing is written to the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from handful import layout
from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.functions import Functions, load_functions
from handful.labels.base import LabelSource
from handful.pipeline import production_files, production_labels, states
from handful.storage.base import Entry, Source
from handful.storage.open import open_store

if TYPE_CHECKING:
    from upath import UPath

ARTIFACTS = 3
LABEL_ROWS = 5_000
"""How many label rows are read to find artifacts for the sample."""
LISTED_KEYS = 200_000
"""How many keys of production are looked at, at most."""


def rehearse(experiment: Experiment) -> None:
    """Load everything, encode three artifacts, train two steps on them, and show the plan.

    Raises what the steps raise; `DataError` when production has no three usable artifacts.
    """
    progress = experiment.progress
    functions = load_functions(experiment.directory)
    progress.note("settings and functions: no faults")
    stage = _stage(experiment)
    _encode_and_train(stage, functions)
    rows = [
        (s.step, "nothing: up to date" if s.up_to_date else f"run: {s.reason}")
        for s in states(experiment)
    ]
    progress.table("what `handful run` will do", ("step", "what"), rows)


def _stage(experiment: Experiment) -> Experiment:
    """Where to rehearse: the store as it is, or a private one with a sample of production."""
    try:
        experiment.store.head(layout.RECONCILED)
    except Absent:
        return _private_stage(experiment)
    experiment.progress.note("artifacts: three of the reconciled ones")
    return experiment


def _private_stage(experiment: Experiment) -> Experiment:
    from handful.steps.reconcile import reconcile

    labels, files = production_labels(experiment), production_files(experiment)
    sample = _sample(experiment, labels, files)
    experiment.progress.note(f"artifacts: {len(sample.ids)} of production's, copied to a private folder")
    private = open_store(str(experiment.scratch / "rehearsal"))
    settings = replace(
        experiment.settings,
        reconcile=replace(experiment.settings.reconcile, LABEL_OVERRIDES=None),
    )
    stage = replace(experiment, store=private, settings=settings)
    reconcile(stage, _Rows(sample.rows), _Chosen(files, sample.entries), made_from={})
    return stage
