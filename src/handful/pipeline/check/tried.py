"""One model, on three documents: they are encoded, and two steps are trained on them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from handful import layout
from handful.errors import DataError
from handful.experiment.context import Experiment
from handful.pipeline.check.estimate import RehearsedModel
from handful.pipeline.check.plan import Span
from handful.progress import Scalar
from handful.sagemaker.jobs.costs.durations import Pace
from handful.settings import Settings
from handful.steps.prepare.encoding.columns import Columns
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.encoding.sampling import check_sample, features_of
from handful.steps.prepare.encoding.schema import (
    ARTIFACT_ID,
    LABELS,
    LENGTH,
    OURS,
    flat_fields,
    refuse,
    table_rows,
)
from handful.steps.prepare.encoding.values import Misfit
from handful.training.calls import call
from handful.user_functions.load import FILE, Encoded, Functions

_OWN_BYTES = 64
"""Of a row: the artifact's id, the label, the length."""


@dataclass(frozen=True)
class EncodedSample:
    """What `encode_data` gave for the documents."""

    model: str
    features: Any
    rows: list[dict[str, Any]]
    seconds: tuple[float, ...]
    """Of each document."""
    row_bytes: float
    """Of each row, as Arrow keeps it."""


def import_training() -> None:
    """Load what every worker that trains has to load, to see how long that takes."""
    import handful.training.check  # noqa: F401


def encode_for_check(
    stage: Experiment,
    functions: Functions,
    instances: Sequence[Instance],
    model: str,
    label2id: Mapping[str, int],
) -> EncodedSample:
    """Encode, hold the fields against the features, and tell."""
    progress, settings = stage.progress, stage.settings
    features = features_of(functions, label2id, model, settings)
    checks = check_sample(
        functions,
        features,
        instances,
        label2id=label2id,
        model_name=model,
        settings=settings,
    )
    name = layout.model_folder(model)
    columns = ("field", "expected", "found", "fits")
    progress.table(f"what encode_data gives for {name}", columns, table_rows(checks))
    for check in checks:
        if check.raised:
            where = f"{check.place or FILE} encode_data, artifact {check.artifact}"
            raise DataError(check.found, where=where)
    refuse(checks)
    sample = _encode(functions, features, instances, model, label2id, settings)
    if not sample.rows:
        raise DataError(
            "it returned None for all three artifacts", where="functions.py encode_data"
        )
    return sample


def describe_encoded(sample: EncodedSample, smaller: float) -> RehearsedModel:
    """What is known before it is trained; `smaller`: the share that an ordinary document is."""
    size = sample.row_bytes
    return RehearsedModel(sample.seconds, Span(size * smaller, size))


def train_for_check(
    stage: Experiment,
    functions: Functions,
    sample: EncodedSample,
    seen: RehearsedModel,
    label2id: Mapping[str, int],
) -> RehearsedModel:
    """Train two steps, and tell; `seen`, with how fast and how large that was."""
    from handful.training.check import try_steps

    metric = stage.settings.train_for(sample.model).METRIC
    result = try_steps(stage, sample.model, functions, sample.features, sample.rows, label2id)
    told: list[tuple[str, Scalar]] = [
        ("parameters", result.parameters),
        ("loss of two steps", ", ".join(f"{loss:.3f}" for loss in result.losses)),
        ("seconds a step", result.seconds_per_step),
        ("precision", f"{result.precision} on {result.device}"),
        (f"{metric}, of these rows", result.metrics[metric]),
    ]
    name = layout.model_folder(sample.model)
    stage.progress.table(f"two training steps of {name}", ("what", "value"), told)
    count = len(sample.rows)
    source = f"a step of {count} examples here, on {result.device}"
    return replace(
        seen,
        pace=Pace(count / result.seconds_per_step, 1, source),
        device=result.device,
        parameters=result.parameters,
        checkpoint_bytes=result.checkpoint_bytes,
        checkpoints_at_once=result.checkpoints_at_once,
    )


def _encode(
    functions: Functions,
    features: Mapping[str, Any],
    instances: Sequence[Instance],
    model: str,
    label2id: Mapping[str, int],
    settings: Settings,
) -> EncodedSample:
    """What `encode_data` returns for the instances, as prepare would save it; without those that
    it leaves out."""
    menu: dict[str, Any] = {"label2id": label2id, "model_name": model, "settings": settings}
    began, seconds = time.perf_counter(), []
    if functions.batched:
        answers = call(functions, "encode_data", instances=list(instances), **menu)
        seconds = [(time.perf_counter() - began) / len(instances)]
    else:
        answers = []
        for one in instances:
            began = time.perf_counter()
            answers.append(call(functions, "encode_data", instance=one, **menu))
            seconds.append(time.perf_counter() - began)
    given = [
        (instance, answer.features if isinstance(answer, Encoded) else answer)
        for instance, answer in zip(instances, answers, strict=True)
        if answer is not None
    ]
    given = [(instance, row) for instance, row in given if row is not None]
    columns = Columns({name: one for name, one in features.items() if name not in OURS})
    try:
        arrays = columns.arrays([columns.plain(row) for _, row in given])
    except Misfit as misfit:  # it fitted when it was checked
        raise DataError(str(misfit), where="functions.py encode_data") from None
    found = {name: array.to_pylist() for name, array in arrays.items()}
    found[LABELS] = [label2id[instance.label] for instance, _ in given]
    found[ARTIFACT_ID] = [instance.id for instance, _ in given]
    rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    for row in rows:
        row[LENGTH] = max((len(row[name]) for name in flat_fields(features)), default=0)
    size = _bytes_of(list(arrays.values())) / max(1, len(rows)) + _OWN_BYTES
    return EncodedSample(model, features, rows, tuple(seconds), size)


def _bytes_of(arrays: Sequence[pa.Array]) -> int:
    return sum(array.nbytes for array in arrays)
