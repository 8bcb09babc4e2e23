"""For `handful check`: two steps of training on a few rows, and the metrics of their logits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.experiment.context import Experiment
from handful.layout import model_folder
from handful.settings import TrainSection
from handful.settings.recipe import by_data
from handful.training.calls import settings_for
from handful.training.cpu.kernels import cpu_kernels, use_cpu_kernels
from handful.training.cpu.micro_batches import has_batch_norm
from handful.training.data.collate import Collator
from handful.training.data.collation import Trial, collation, give_padding_token
from handful.training.data.lengths import EncodedLengths, check_lengths, read_encoded_lengths
from handful.training.data.splits import ID, LENGTH, SplitData, as_split
from handful.training.evaluation.metrics import Metrics
from handful.training.evaluation.prediction import predict
from handful.training.loop import runtime
from handful.training.loop.checkpoints import KEPT
from handful.training.loop.optimizer import make_optimizer
from handful.training.model.capabilities import (
    check_features,
    check_output,
    check_trainable,
    telling,
)
from handful.training.model.load import build_model, facts_of, find_model, load_tokenizer
from handful.training.trainer import make_objective
from handful.user_functions.load import Functions

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from datasets import Features

STEPS = 2


@dataclass(frozen=True)
class CheckResult:
    """What two steps have shown."""

    model: str
    losses: tuple[float, ...]
    """One a step."""
    metrics: Mapping[str, float]
    """Of the few rows, after the steps: they show that the functions work, nothing more. NaN for
    what so few do not tell."""
    parameters: int
    seconds_per_step: float
    """Of the last step; the first one warms up."""
    precision: str
    device: str
    checkpoint_bytes: int
    """Of one: the weights, and what the optimizer remembers of those that are trained."""
    checkpoints_at_once: int
    """So many are there at most, while a training goes on: one is written before one goes."""


def try_steps(
    experiment: Experiment,
    model_name: str,
    functions: Functions,
    features: Features,
    rows: Sequence[Mapping[str, Any]],
    label2id: Mapping[str, int],
) -> CheckResult:
    """Train two steps on `rows` (as encode_data returned them, `labels` included).

    `artifact_id` and `length` may be left out of the rows. Writes nothing to the store. Raises
    `UserError` for whatever a run would raise it for: a feature that `forward` does not take, a
    wrong number of logits, no loss, a `METRIC` that is not there, a model that cannot be loaded.
    """
    data = _as_data(features, rows)
    labels = len(label2id)
    settings, progress = settings_for(experiment.settings, model_name), experiment.progress
    section = settings.train
    runtime.use_threads()
    kernels = use_cpu_kernels(section.CPU_KERNELS, progress)
    source = find_model(settings, experiment.scratch, model_name)
    precision = runtime.resolve_model_precision(section.PRECISION, source.name)
    metrics = Metrics(functions, label2id, settings)
    with runtime.open_accelerator(precision) as accelerator:
        runtime.seed_everything(settings.experiment.SEED)
        model = build_model(functions, source, label2id, settings, progress)
        metrics.check_name(section.METRIC, data.references)
        check_features(model, data.features)
        check_trainable(model)
        tried = list(zip(data.ids(), data.lengths.tolist(), strict=True))
        check_lengths(model, EncodedLengths({"tried": tried}))
        # Of the rows that prepare has made, if it has: by their lengths, the held-out ones too.
        folder = experiment.layout.encoded(model_name)
        check_lengths(model, read_encoded_lengths(experiment.store, folder))
        tokenizer = load_tokenizer(source, functions, progress)
        give_padding_token(model, tokenizer)
        name = model_folder(model_name)
        trial = Trial(data, labels, experiment.directory, progress, name, precision)
        collate = collation(model, tokenizer, trial)
        with telling(model, experiment.directory):
            prepared, losses, seconds = _steps(
                accelerator, model, data, collate, section, labels, kernels
            )
        predicted = predict(prepared, data, collate, len(data), labels, kernels=kernels)
        logits, references, loss = predicted.logits, data.references, predicted.loss
        return CheckResult(
            model=model_folder(model_name),
            losses=tuple(losses),
            metrics=metrics.with_metric(section.METRIC, logits, references, loss),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            seconds_per_step=seconds,
            precision=precision,
            device=accelerator.device.type,
            checkpoint_bytes=_checkpoint_bytes(model),
            checkpoints_at_once=KEPT + 2,
        )


def _checkpoint_bytes(model: torch.nn.Module) -> int:
    """AdamW remembers two numbers of each weight that is trained."""
    weights = [*model.parameters(), *model.buffers()]
    trained = [one for one in model.parameters() if one.requires_grad]
    own = sum(one.numel() * one.element_size() for one in weights)
    return own + 2 * sum(one.numel() * one.element_size() for one in trained)


def _steps(
    accelerator: Accelerator,
    model: torch.nn.Module,
    data: SplitData,
    collate: Collator,
    section: TrainSection,
    labels: int,
    kernels: bool,
) -> tuple[torch.nn.Module, list[float], float]:
    """The model as Accelerate has it, the loss of each step, and how long the last one took."""
    device, objective = accelerator.device, make_objective(section, data.references, labels)
    model.to(device)
    rate = section.LEARNING_RATE or by_data(facts_of(model, len(data))).learning_rate
    own = make_optimizer(model, rate, section.WEIGHT_DECAY, device)
    prepared, optimizer = accelerator.prepare(model, own)
    prepared.train()
    # One example alone is too few for batch norm.
    taken = np.resize(np.arange(len(data)), max(len(data), 2 if has_batch_norm(model) else 1))
    losses, seconds = [], 0.0
    for _ in range(STEPS):
        started = time.perf_counter()
        batch = collate(data.batch(taken))
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with cpu_kernels(device, compiled=section.COMPILE, on=kernels):
            output = prepared(**batch)
            check_output(output, batch, labels)  # some return another loss while they are trained
            loss = objective(output, batch)
            accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        seconds = time.perf_counter() - started
    return prepared, losses, seconds


def _as_data(features: Features, rows: Sequence[Mapping[str, Any]]) -> SplitData:
    from datasets import Dataset, Value

    names = [name for name in features if name not in (ID, LENGTH)]
    columns = {name: [row[name] for row in rows] for name in names}
    if all(LENGTH in row for row in rows):
        columns[LENGTH] = [row[LENGTH] for row in rows]
        features = type(features)({**features, LENGTH: Value("int32")})
        names.append(LENGTH)
    dataset = Dataset.from_dict(columns, features=type(features)({n: features[n] for n in names}))
    if ID not in dataset.column_names:
        dataset = dataset.add_column(ID, [str(row.get(ID, n)) for n, row in enumerate(rows)])
    return as_split(dataset)
