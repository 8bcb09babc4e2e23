"""A trained model as an ONNX file, put in place only after its outputs were seen to agree."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handful.errors import StepError, UserError
from handful.experiment.context import Experiment
from handful.training.data.batches import Indices
from handful.training.data.collate import IDS, MASK, Collator
from handful.training.data.collation import collator_from_record
from handful.training.data.splits import LABELS, SplitData, open_splits
from handful.training.model.final import open_final
from handful.training.model.load import find_model, load_tokenizer, quiet_libraries
from handful.user_functions.load import load_functions

TOLERANCE = 1e-4
"""The greatest difference of a logit that is let pass."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")
_ROWS = 8
_LOGITS = "logits"


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    path: Path
    inputs: tuple[str, ...]
    rows: int
    """Rows of validation that were compared."""
    shapes: tuple[tuple[int, ...], ...]
    """[rows, length] of each batch that was compared."""
    difference: float
    """The greatest between a logit of onnxruntime's and torch's."""
    size: int
    """Bytes."""


class _Logits(torch.nn.Module):
    """The model with its inputs by position, and the logits alone."""

    def __init__(self, model: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def check_extra() -> None:
    """`UserError` if the libraries of the extra are not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            where="export --onnx",
            remedy="pip install 'handful[onnx]'",
        )


def export_onnx(
    experiment: Experiment,
    model: str,
    folder: Path,
    weights_hash: str,
    path: Path,
    temperature: Callable[[Mapping[str, Any]], float],
) -> Exported:
    """Write the final/ at the local `folder` to `path`, with any batch size and length.

    `temperature` tells that of a model by its record. `metadata_props` hold `label2id`,
    `id2label` (JSON), `temperature`, and what was exported. The weights are those of the training,
    in float32. `UserError` for a missing library or a model that cannot be exported; `StepError`,
    and no file, if onnxruntime's logits differ.
    """
    check_extra()
    quiet_libraries()
    settings, progress = experiment.settings, experiment.progress
    source = find_model(settings, experiment.scratch, model)
    functions = load_functions(experiment.directory)
    opened = open_final(functions, source, folder, weights_hash, settings, progress)
    _refuse_known(opened.model)
    opened.model.float().cpu().eval()
    _plain_experts(opened.model)
    tokenizer = load_tokenizer(source, functions, progress)
    collate = collator_from_record(opened.record, opened.model, tokenizer)
    count = {"validation": opened.record["rows"]["validation"]}
    store, mine = experiment.store, experiment.layout
    data = open_splits(store, mine, experiment.scratch, model, count)["validation"]
    names = tuple(name for name in data.features if name != LABELS)
    names += (MASK,) if collate.adds_mask else ()
    batches = [_inputs(collate, data, names, rows) for rows in _choices(data.lengths)]
    wrapped = _Logits(opened.model, names)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_onnx_file(
            wrapped, _select_tracing_batch(batches), _find_dynamic_axes(data, names), aside
        )
        _describe(aside, opened.record, temperature(opened.record))
        difference = _max_onnx_difference(wrapped, batches, aside)
        if not difference < TOLERANCE:
            raise StepError(
                f"the ONNX file's logits differ by {difference:.2g} from the model's, more than "
                f"{TOLERANCE:g}; no file was written",
                where=str(path),
                remedy="does forward depend on chance, or on the values of its inputs?",
            )
        os.replace(aside, path)  # noqa: PTH105 - both are paths
    finally:
        aside.unlink(missing_ok=True)
    shapes = tuple(tuple(batch[0].shape) for batch in batches)
    rows = sum(shape[0] for shape in shapes)
    return Exported(path, names, rows, shapes, difference, path.stat().st_size)


_NOT_EXPORTABLE = ("Longformer", "XLNet")
"""Their attention cuts and pads by the values of its inputs."""


def _refuse_known(model: torch.nn.Module) -> None:
    name = type(model).__name__
    if name.startswith(_NOT_EXPORTABLE):
        raise UserError(
            f"{name} cannot be exported to ONNX: its attention depends on the values of its inputs",
            where="MODEL_NAMES",
            remedy="use final/ itself, or train a model of another architecture for ONNX",
        )


def _plain_experts(model: torch.nn.Module) -> None:
    """Mixtures of experts by a product that ONNX knows: the same numbers."""
    change: Any = getattr(model, "set_experts_implementation", None)
    if change is not None:
        change("batched_mm")


def _choices(lengths: Indices) -> list[Indices]:
    """Rows to compare: the shortest alone, the longest, and a batch of every length."""
    order = np.argsort(lengths, kind="stable")
    spread = order[np.linspace(0, len(order) - 1, min(_ROWS, len(order))).astype(np.int64)]
    return [order[:1], order[-2:], order[:3], spread]


def _inputs(
    collate: Collator, data: SplitData, names: Sequence[str], rows: Indices
) -> tuple[torch.Tensor, ...]:
    batch = collate(data.batch(rows))
    return tuple(batch[name] for name in names)


def _select_tracing_batch(batches: Sequence[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """To trace with: sizes of 0 and 1 would be taken for constants."""
    longest = max(batches, key=lambda batch: sum(tensor.numel() for tensor in batch))
    if len(longest[0]) > 1:
        return longest
    return tuple(torch.cat([tensor, tensor]) for tensor in longest)


def _find_dynamic_axes(data: SplitData, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Feature → the axes, after that of the batch, whose size differs from batch to batch."""
    found = {}
    for name in names:
        # A mask that is made has the shape of what it is made from.
        source = name if name in data.features else IDS
        axes, feature, axis = [], data.rows.features[source], 1
        while (inner := getattr(feature, "feature", None)) is not None:
            if getattr(feature, "length", -1) < 0:
                axes.append(axis)
            feature, axis = inner, axis + 1
        found[name] = tuple(axes)
    return found


def _write_onnx_file(
    model: _Logits,
    example: tuple[torch.Tensor, ...],
    ragged: Mapping[str, tuple[int, ...]],
    path: Path,
) -> None:
    batch = torch.export.Dim("batch")
    # One name for all lengths, if they are one in the example; else each has its own.
    sizes = {example[i].shape[1] for i, axes in enumerate(ragged.values()) if 1 in axes}
    length: Any = torch.export.Dim("length") if len(sizes) == 1 else torch.export.Dim.DYNAMIC
    shapes = tuple(
        {0: batch, **{axis: length if axis == 1 else torch.export.Dim.DYNAMIC for axis in axes}}
        for axes in ragged.values()
    )
    try:
        with _silence_onnx_exporter(), torch.inference_mode():
            torch.onnx.export(
                model,
                example,
                str(path),
                dynamo=True,
                input_names=list(ragged),
                output_names=[_LOGITS],
                dynamic_shapes=(shapes,),
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise UserError(
            f"{type(model.model).__name__} cannot be exported to ONNX: {_cause(error)}",
            where="forward of the model",
            remedy="what torch.export cannot follow (branches on values) has to go",
        ) from error


def _cause(error: BaseException) -> str:
    """What the exporter met first, in one line: it wraps that in advice to its own developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {_COLOUR.sub('', first)[:150]}"


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _describe(path: Path, record: Mapping[str, Any], temperature: float) -> None:
    import onnx

    label2id = record["label2id"]
    model = onnx.load(path)
    onnx.helper.set_model_props(
        model,
        {
            "label2id": json.dumps(label2id),
            "id2label": json.dumps({str(number): label for label, number in label2id.items()}),
            "temperature": str(temperature),
            "experiment": str(record.get("experiment", "")),
            "model": str(record["model"]),
            "seed": str(record["seed"]),
            "weights_hash": str(record["weights_hash"]),
        },
    )
    onnx.save(model, path)


def _max_onnx_difference(
    model: _Logits, batches: Sequence[tuple[torch.Tensor, ...]], path: Path
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in batches:
        given = {n: t.numpy() for n, t in zip(model.names, batch, strict=True)}
        try:
            (found,) = session.run([_LOGITS], given)
        except Exception as error:
            raise StepError(
                f"onnxruntime cannot run it on {list(batch[0].shape)}: {error}", where=str(path)
            ) from error
        with torch.inference_mode():
            expected = model(*batch).numpy()
        if found.shape != expected.shape or not np.isfinite(found).all():
            return float("inf")
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


@contextmanager
def _silence_onnx_exporter() -> Iterator[None]:
    """The exporter tells its own developers a great deal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
