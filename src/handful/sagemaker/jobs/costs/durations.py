"""How long the jobs will take, from what was measured: earlier runs first, else `check`'s steps.

A pace is taken as it was measured, wherever that was: a forecast says where, so that a person can
tell a laptop's from that of the instance itself. Only the number of processes is reckoned with, as
if they shared the work evenly.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handful import layout
from handful.errors import Absent
from handful.layout import Layout, model_folder
from handful.sagemaker.jobs.costs.instances import Jobs
from handful.settings import Range, Settings
from handful.settings.recipe import Facts, by_data
from handful.storage.base import Store

FORWARD_SHARE = 1 / 3
"""A pass without gradients costs about a third of a training step: one pass of three."""
_LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class Pace:
    """How fast a model trains."""

    examples_per_second: float
    processes: int
    source: str
    """Where that was measured, for people."""


@dataclass(frozen=True)
class Sizes:
    """Examples per split; zeros if nobody knows yet."""

    train: int = 0
    validation: int = 0
    test: int = 0


@dataclass(frozen=True)
class Duration:
    """Of one job, without its start."""

    seconds: float
    source: str


def duration_of(
    jobs: Jobs,
    settings: Settings,
    store: Store,
    here: Layout,
    paces: Mapping[str, Pace],
    sizes: Sizes,
) -> Duration | None:
    """Of one of `jobs`; None if nothing was measured yet. `paces` by the model's folder."""
    if jobs.step in {"reconcile", "prepare", "test"}:
        return _as_before(jobs, store, here) or _estimate_test_duration(jobs, paces, sizes)
    pace = paces.get(jobs.what)
    if pace is None or not sizes.train:
        return None
    model = next(name for name in settings.train.MODEL_NAMES if model_folder(name) == jobs.what)
    # A trial trains no longer than the most epochs that are searched.
    section = settings.train_for(model)
    epochs = section.EPOCHS or by_data(Facts(sizes.train, 0)).epochs
    if jobs.step == "tune":
        epochs = _most_epochs(settings.tune.ranges, epochs)
    planned = jobs.instances * (settings.compute.TRAIN_PROCESSES or 1)
    rate = pace.examples_per_second * planned / pace.processes
    examples = epochs * (sizes.train + FORWARD_SHARE * sizes.validation)
    return Duration(max(_LEAST_SECONDS, examples / rate), pace.source)


def _as_before(jobs: Jobs, store: Store, here: Layout) -> Duration | None:
    """As long as the step took the last time, shared among its instances."""
    key = {
        "reconcile": layout.RECONCILED,
        "prepare": here.prepared_record,
        "test": here.tested_record,
    }[jobs.step]
    record = _json(store, key)
    seconds = float(record.get("seconds") or 0)
    if not seconds:
        return None
    return Duration(seconds / jobs.instances, f"the last {jobs.step}, {record['finished_at'][:10]}")


def _estimate_test_duration(jobs: Jobs, paces: Mapping[str, Pace], sizes: Sizes) -> Duration | None:
    """Testing is one forward pass over the test split, for each model and seed."""
    if jobs.step != "test" or not paces or not sizes.test:
        return None
    seconds = sum(
        FORWARD_SHARE * sizes.test / (pace.examples_per_second / pace.processes)
        for pace in paces.values()
    )
    sources = sorted({pace.source for pace in paces.values()})
    return Duration(max(_LEAST_SECONDS, seconds), "; ".join(sources))


def _most_epochs(ranges: Sequence[Range], otherwise: float) -> float:
    for one in ranges:
        if one.key == "EPOCHS":
            values = [otherwise if value is None else float(str(value)) for value in one.choices]
            values = values or [one.high or otherwise]
            return max(values)
    return otherwise


def sizes_of(settings: Settings, store: Store, here: Layout) -> Sizes:
    """From the prepared datasets, else from what reconcile kept and SPLIT shares out."""
    prepared = _json(store, here.prepared_record).get("rows", {})
    if prepared:
        most = {
            split: max(int(rows.get(split, 0)) for rows in prepared.values())
            for split in layout.SPLITS
        }
        return Sizes(**most)
    kept = int(_json(store, layout.RECONCILED).get("kept", 0))
    section = settings.prepare
    if section.MAX_ARTIFACTS:
        kept = min(kept, section.MAX_ARTIFACTS)
    return Sizes(*(round(kept * share) for share in section.SPLIT))


def paces_of(
    settings: Settings, store: Store, here: Layout, tried: Mapping[str, Pace]
) -> dict[str, Pace]:
    """By the model's folder: an earlier training of it in this store, else what `check` tried.

    Of several trainings the longest counts, whichever dataset it was on: starting weighs least.
    """
    found = dict(tried)
    wanted = {model_folder(name) for name in settings.train.MODEL_NAMES}
    results = here.results.rpartition("/")[0]
    for folder, record in _longest_trainings(store, results, wanted).items():
        environment: Mapping[str, Any] = record.get("environment", {})
        seconds = float(record["seconds"])
        rows = record["rows"]
        examples = float(record["epochs"]) * (
            rows.get("train", 0) + FORWARD_SHARE * rows.get("validation", 0)
        )
        if seconds > 0 and examples > 0:
            processes = int(environment.get("processes") or 1)
            device = environment.get("device", "an unknown device")
            source = f"an earlier training, {processes} process{'es' * (processes > 1)} on {device}"
            found[folder] = Pace(examples / seconds, processes, source)
    return found


def _longest_trainings(
    store: Store, results: str, wanted: Collection[str]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for batch in store.list(f"{results}/"):
        for key in batch.column("key").to_pylist():
            # results/<dataset>/models/<model>/seed-<n>/final/handful.json
            parts = key.split("/")
            if parts[-2:] != ["final", layout.FINAL_RECORD] or len(parts) < 4:
                continue
            folder = parts[-4]
            if folder not in wanted:
                continue
            record = _json(store, key)
            if float(record.get("seconds") or 0) > float(found.get(folder, {}).get("seconds") or 0):
                found[folder] = record
    return found


def _json(store: Store, key: str) -> dict[str, Any]:
    """Empty if it is not there, or is no object: then nothing was measured."""
    try:
        found = json.loads(store.read(key))
    except (Absent, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
