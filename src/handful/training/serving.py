"""A trained model at work on documents without labels: logits, whatever may be wrong with a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from handful.errors import StepError, UserError
from handful.evaluation.metrics.calibration import softmax
from handful.experiment.context import Experiment
from handful.training.cpu.inference import judging
from handful.training.cpu.kernels import use_cpu_kernels
from handful.training.cpu.micro_batches import inference_position_limit
from handful.training.cpu.side_by_side import map_in_threads
from handful.training.data.batches import Indices, length_order
from handful.training.data.collate import Collator
from handful.training.data.collation import collator_from_record
from handful.training.evaluation.metrics import Logits
from handful.training.loop import runtime
from handful.training.model.capabilities import unknown_ids
from handful.training.model.final import open_final
from handful.training.model.load import find_model, load_tokenizer, quiet_libraries
from handful.user_functions.load import Functions

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_SIZE = 32
_AUTOCAST_SERVING_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Scored:
    """What a model says about some rows, in their order."""

    logits: Logits
    """[N, C]; rows of zeros where there is a fault."""
    faults: Mapping[int, str]
    """Row → why there is no answer."""


@dataclass
class Scorer:
    """A trained model, opened once."""

    model: torch.nn.Module
    record: Mapping[str, Any]
    """What its handful.json says."""
    collate: Collator
    device: torch.device
    dtype: torch.dtype | None = None
    """Of autocast; None: the arithmetic is that of the weights."""
    kernels: bool = True
    """See `use_cpu_kernels`."""
    labels: int = field(init=False)

    def __post_init__(self) -> None:
        self.labels = len(self.record["label2id"])
        self.model.to(self.device).eval()

    def score(self, table: pa.Table, lengths: Sequence[int]) -> Scored:
        """`table`: N rows of the model's features, without labels; `lengths`: how long each is.

        In length order, so that there is next to no padding. A batch that fails is tried again in
        halves, down to the rows that are guilty; those become faults. `StepError` if the device
        itself is broken.
        """
        logits = np.zeros((table.num_rows, self.labels))
        faults: dict[int, str] = {}
        most = inference_position_limit(self.device)
        own, equal = np.asarray(lengths, dtype=np.int64), self.collate.equal_lengths
        waiting = length_order(own, BATCH_SIZE, most, equal=equal)
        with judging(self.model, self.device, on=self.kernels) as workers:
            while waiting:
                halves: list[Indices] = []
                found = map_in_threads(lambda some: self._forward(table, some), waiting, workers)
                with closing(found):
                    for indices, answer in zip(waiting, found, strict=True):
                        if not isinstance(answer, str):
                            logits[indices] = answer
                        elif len(indices) > 1:
                            middle = len(indices) // 2
                            halves += [indices[:middle], indices[middle:]]
                        else:
                            faults[int(indices[0])] = answer
                waiting = halves
        for row in np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist():
            faults[row] = "the model's logits are not finite"
            logits[row] = 0.0
        return Scored(logits, faults)

    def _forward(self, table: pa.Table, indices: Indices) -> Logits | str:
        """The logits of some rows, or why there are none."""
        try:
            batch = self.collate(table.take(indices))
            fault = unknown_ids(self.model, batch)
            if fault:  # it must not reach a GPU, which would never recover
                return f"the model failed: {fault}"
            batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
            with torch.inference_mode(), self._arithmetic():
                output = self.model(**batch)
            found: Logits = output.logits.float().cpu().numpy()
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            if "device-side assert" in str(error):
                raise StepError(
                    f"the GPU gave up: {error}", remedy="try again with CUDA_VISIBLE_DEVICES="
                ) from error
            return " ".join(f"the model failed: {type(error).__name__}: {error}".split())[:300]
        if found.shape != (len(indices), self.labels):
            raise UserError(
                f"forward returned logits of shape {list(found.shape)} for {len(indices)} "
                f"documents and {self.labels} labels",
                where="load_model in functions.py",
            )
        return found

    def _arithmetic(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)


def open_scorer(
    experiment: Experiment, functions: Functions, model: str, folder: Path, weights_hash: str
) -> Scorer:
    """Open the final/ at the local `folder`, in the precision of its training where it can be.

    `model` is its name in MODEL_NAMES. Raises what `open_final` raises.
    """
    quiet_libraries()
    runtime.use_threads()
    settings, progress = experiment.settings, experiment.progress
    source = find_model(settings, experiment.scratch, model)
    opened = open_final(functions, source, folder, weights_hash, settings, progress)
    tokenizer = load_tokenizer(source, functions, progress)
    device = _device()
    trained = str(opened.record["environment"]["precision"])
    if trained == "fp16" and device.type != "cuda":
        trained = "fp32"  # the same as the test does
    return Scorer(
        opened.model,
        opened.record,
        collator_from_record(opened.record, opened.model, tokenizer),
        device,
        _AUTOCAST_SERVING_DTYPES.get(trained),
        use_cpu_kernels(experiment.settings.train_for(model).CPU_KERNELS, experiment.progress),
    )


def probabilities(logits: Logits, temperature: float) -> Logits:
    """[N, C]: softmax of the logits divided by the temperature that validation has fitted."""
    return softmax(logits / temperature)


def _device() -> torch.device:
    # Not Accelerate's: its state belongs to the whole process, which may be somebody else's.
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
