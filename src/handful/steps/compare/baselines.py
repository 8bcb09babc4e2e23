"""Which baselines stand beside the models; looked up without anything heavy, for fingerprints."""

from __future__ import annotations

import json
from collections.abc import Sequence

from handful.errors import Absent, DataError
from handful.layout import Layout, model_folder
from handful.storage.base import Store

PREFIX = "baseline-"
METRICS = "metrics.json"


def baseline_files(store: Store, mine: Layout, models: Sequence[str]) -> dict[str, bytes]:
    """The folder's name of each baseline → its metrics.json, in alphabetical order.

    No probe of a model that is not among `models` (MODEL_NAMES). `DataError` if one cannot be
    read.
    """
    head = f"{mine.evaluation}/"
    folders = {model_folder(name) for name in models}
    names = {
        str(key).removeprefix(head).split("/")[0]
        for batch in store.list(f"{head}{PREFIX}")
        for key in batch.column("key").to_pylist()
    }
    found = {}
    for name in sorted(names - folders):
        key = mine.metrics(name, 0)
        try:
            data = store.read(key)
        except Absent:
            continue  # metrics.json is written last: this one is not whole
        try:
            told = json.loads(data)
            if told.get("baseline") and told.get("probe_of") in {None, *folders}:
                found[name] = data
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"cannot be read: {error}",
                where=f"{store.url}/{key}",
                remedy="remove that folder; the baseline will be made again",
            ) from error
    return found
