"""Which baselines stand beside the models; looked up without anything heavy, for fingerprints."""

from __future__ import annotations

import json

from handful.errors import Absent, DataError
from handful.experiment.context import Experiment
from handful.layout import model_folder

PREFIX = "baseline-"
METRICS = "metrics.json"


def baseline_files(experiment: Experiment) -> dict[str, bytes]:
    """The folder's name of each baseline → its metrics.json, in alphabetical order.

    Not a probe of a model that is no longer in `MODEL_NAMES`. `DataError` if one cannot be read.
    """
    head = f"{experiment.layout.evaluation}/"
    models = {model_folder(name) for name in experiment.settings.train.MODEL_NAMES}
    names = {
        str(key).removeprefix(head).split("/")[0]
        for batch in experiment.store.list(f"{head}{PREFIX}")
        for key in batch.column("key").to_pylist()
    }
    found = {}
    for name in sorted(names - models):
        key = experiment.layout.metrics(name, 0)
        try:
            data = experiment.store.read(key)
        except Absent:
            continue  # metrics.json is written last: this one is not whole
        try:
            told = json.loads(data)
            if told.get("baseline") and told.get("probe_of") in {None, *models}:
                found[name] = data
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"cannot be read: {error}",
                where=f"{experiment.store.url}/{key}",
                remedy="remove that folder; the baseline will be made again",
            ) from error
    return found
