"""The step that tests: all trained models on the held-out split, in one recorded look."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from handful.backends.base import Backend, Job
from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.layout import model_folder
from handful.records import Evaluation, Fingerprint, Prepared, Tested, Trained, Tuned
from handful.steps.looks import after_verdict


def test(
    experiment: Experiment,
    prepared: Prepared,
    trained: Trained,
    backend: Backend,
    *,
    made_from: Fingerprint,
    tuned: Tuned | None = None,  # noqa: PT028 - a step, and no test of pytest's
) -> Tested:
    """Evaluate every run of `trained`, and note the look in evaluation/looks.jsonl.

    Raises `DataError` if the test split is empty, and what the job raises.
    """
    for run in trained.runs:
        if not prepared.rows[run.model].get("test"):
            raise DataError(
                f"the test split of {run.model} has no rows",
                where="[prepare] SPLIT",
                remedy="give the test split a share, or label more artifacts",
            )
    names = {model_folder(name): name for name in experiment.settings.train.MODEL_NAMES}
    arguments = {
        "label2id": dict(prepared.label2id),
        "runs": [
            {
                "model": names.get(run.model, run.model),
                "seed": run.seed,
                "weights_hash": run.weights_hash,
                "rows": prepared.rows[run.model]["test"],
                "values": dict(tuned.values_for(run.model)) if tuned else {},
            }
            for run in trained.runs
        ],
        # Names, in the settings' order: the baselines stand on the first data that allow it.
        "baseline_rows": {
            names.get(run.model, run.model): dict(prepared.rows[run.model]) for run in trained.runs
        },
        "best_run": _best_run(experiment, trained),
    }
    job = Job("test", str(experiment.directory), experiment.overrides, arguments)
    answer = backend.run(job, experiment.progress)
    evaluations = tuple(Evaluation(**one) for one in answer["evaluations"])
    baselines = tuple(Evaluation(**one) for one in answer["baselines"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    looks = _note_look(experiment, _look(now, arguments, baselines, made_from))
    return Tested(
        evaluations=evaluations,
        baselines=baselines,
        looks=looks,
        made_from=made_from,
        finished_at=now,
    )


def _best_run(experiment: Experiment, trained: Trained) -> int:
    """The number of the run that is best on validation: it judges labels, never on its own data."""
    train = experiment.settings.train
    sign = 1.0 if train.METRIC_GOAL == "max" else -1.0
    scores = [sign * run.metrics.get(train.METRIC, -sign * math.inf) for run in trained.runs]
    return scores.index(max(scores))


def _look(
    now: str,
    arguments: Mapping[str, Any],
    baselines: Sequence[Evaluation],
    made_from: Fingerprint,
) -> dict[str, Any]:
    content = json.dumps(dict(made_from), sort_keys=True).encode()
    return {
        "when": now,
        "runs": [
            {
                "model": model_folder(run["model"]),
                "seed": run["seed"],
                "weights_hash": run["weights_hash"],
            }
            for run in arguments["runs"]
        ],
        "baselines": [one.model for one in baselines],
        "settings_hash": hashlib.sha256(content).hexdigest(),
    }


def _note_look(experiment: Experiment, look: Mapping[str, Any]) -> int:
    """Add a line to looks.jsonl; how many there are now."""
    key = experiment.layout.looks
    try:
        before = experiment.store.read(key)
    except Absent:
        before = b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    if after_verdict(experiment, [run["weights_hash"] for run in look["runs"]]):
        look = {**look, "after_verdict": True}
        experiment.progress.warn(
            "this look at the test split came after a verdict about other models; it is marked so"
        )
    line = json.dumps(look, ensure_ascii=False).encode() + b"\n"
    experiment.store.write(key, before + line)
    return (before + line).count(b"\n")
