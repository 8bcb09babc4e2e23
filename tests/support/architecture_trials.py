"""One architecture from a checkpoint to final/ by handful, beside plain Transformers.

Plain: each row by itself, unpadded; the gradient of a batch is the mean of its rows'. Ours: real
trainings of one step, and a real test, in experiments of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from datasets import Dataset
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from handful.backends.inline import Inline
from handful.records import Prepared, Trained
from handful.steps.test import test as run_test
from handful.steps.train import train as run_train
from handful.training.loop.optimizer import CLIP_NORM, make_optimizer
from handful.training.model.exporting import export_onnx
from handful.training.serving import open_scorer
from handful.user_functions.load import load_functions
from tests.support import encoded
from tests.support.architectures import tiny
from tests.support.encoded import Encoded
from tests.support.image_architectures import picture, tiny_of_images
from tests.support.progress import Recording

LABEL2ID = {label: number for number, label in enumerate(encoded.LABELS)}
LENGTHS = {"train": (16, 9, 5, 9), "validation": (7, 12, 5), "test": (16, 6, 11, 6)}
BOXES = ("layoutlm", "layoutlmv3", "lilt")
MASKLESS = ("fnet",)
_OURS = ("artifact_id", "length")
_CHUNK = 8
"""Of the tiny Reformer."""
Array = np.ndarray[Any, Any]
Gradients = dict[str, torch.Tensor]


def text(kind: str, draw: np.random.Generator, length: int) -> dict[str, Any]:
    """What forward takes of one document of `length` tokens, in lists."""
    ids = [*draw.integers(5, 100, length - 1).tolist(), 2]  # ends with eos, which bart pools by
    row: dict[str, Any] = {"inputs" if kind == "perceiver" else "input_ids": ids}
    if kind not in MASKLESS:
        row["attention_mask"] = [1] * length
    if kind in BOXES:
        row["bbox"] = [[x, y, x + 9, y + 9] for x, y in draw.integers(0, 31, (length, 2)).tolist()]
    return row


@dataclass(frozen=True)
class Trial:
    """The architecture `kind` in an experiment of its own below `root`."""

    kind: str
    root: Path
    images: bool = False
    stored: torch.dtype = torch.float32
    """Of the checkpoint."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of `[train]`."""

    @cached_property
    def checkpoint(self) -> Path:
        """A classifier of which every weight counts."""
        folder = self.root / "EXP-1" / "model"
        model = tiny_of_images(self.kind) if self.images else tiny(self.kind)
        model.to(self.stored).save_pretrained(folder)
        return folder

    @property
    def name(self) -> str:
        """As MODEL_NAMES has it."""
        return str(self.checkpoint)

    @cached_property
    def experiment(self) -> Encoded:
        rows = {split: len(lengths) for split, lengths in LENGTHS.items()}
        prepared = Prepared(
            made_from={},
            finished_at="2026-01-01T00:00:00+00:00",
            label2id=LABEL2ID,
            rows={"model": rows},
            quarantined={"model": 0},
            left_out={"model": 0},
            data_hash={"model": "0" * 64},
            splits_hash="1" * 64,
        )
        one = Encoded(self.checkpoint.parent, prepared)
        usual = {"EPOCHS": "1", "BATCH_SIZE": "4", "LEARNING_RATE": "1e-3"}
        one.settings(MODEL_NAMES=self.name, **{**usual, **self.settings})
        one.functions("")
        folder = one.store / "data" / "prepared_data" / "full_dataset"
        for split in LENGTHS:
            Dataset.from_list(self.rows(split)).save_to_disk(str(folder / "model" / split))
        (folder / "label2id.json").write_text(json.dumps(LABEL2ID))
        return one

    def rows(self, split: str) -> list[dict[str, Any]]:
        """As they are encoded; two of a length, the others of lengths of their own."""
        draw = np.random.default_rng([*split.encode()])
        found = []
        for number, length in enumerate(LENGTHS[split]):
            one = picture(self.kind, draw) if self.images else text(self.kind, draw, length)
            length = 1 if self.images else length
            more = {"artifact_id": f"{split}-{number}", "length": length}
            found.append({**one, "labels": number % len(LABEL2ID), **more})
        return found

    # --- by handful ------------------------------------------------------------------------------

    @property
    def final(self) -> Path:
        return self.experiment.store / "results/full_dataset/models/model/seed-0/final"

    @property
    def record(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads((self.final / "handful.json").read_text())
        return found

    def train(self, told: Recording | None = None) -> Trained:
        experiment = self.experiment.open(self.root / "train", told)
        return run_train(experiment, self.experiment.prepared, Inline(), made_from={})

    def loss(self) -> float:
        """Of the step that was trained, as the log tells it."""
        log = self.final.parent / "metrics.jsonl"
        return float(json.loads(log.read_text().splitlines()[0])["loss"])

    def tested(self, trained: Trained) -> Array:
        """[N, C] logits that the step "test" wrote."""
        prepared = self.experiment.prepared
        experiment = self.experiment.open(self.root / "test")
        run_test(experiment, prepared, trained, Inline(), made_from={})
        folder = self.experiment.store / "results/full_dataset/evaluation/model/seed-0"
        table = pl.read_parquet(folder / "predictions.parquet").sort("artifact_id")
        return np.array(table["logits"].to_list())

    def predicted(self, trained: Trained) -> Array:
        """[N, C] logits of what `predict` is made of."""
        experiment = self.experiment.open(self.root / "predict")
        functions = load_functions(experiment.directory)
        hashed = trained.runs[0].weights_hash
        scorer = open_scorer(experiment, functions, self.name, self.final, hashed)
        found = self.rows("test")
        names = [name for name in found[0] if name not in (*_OURS, "labels")]
        table = pa.table({name: [row[name] for row in found] for name in names})
        scored = scorer.score(table, [row["length"] for row in found])
        assert not scored.faults, scored.faults
        return scored.logits

    def exported(self, trained: Trained) -> float:
        """The greatest difference of a logit of onnxruntime's."""
        experiment = self.experiment.open(self.root / "export")
        hashed, path = trained.runs[0].weights_hash, self.root / "model.onnx"
        return export_onnx(experiment, self.name, self.final, hashed, path, lambda _: 1).difference

    # --- by plain transformers -------------------------------------------------------------------

    def plain(self, folder: Path) -> Any:
        auto = (
            AutoModelForImageClassification if self.images else AutoModelForSequenceClassification
        )
        return auto.from_pretrained(folder, dtype=torch.float32)

    def plain_logits(self, folder: Path, split: str) -> Array:
        """[N, C], each row by itself."""
        model = self.plain(folder).eval()
        with torch.inference_mode():
            found = [model(**batch([row], labels=False)).logits[0] for row in self.rows(split)]
        return torch.stack(found).numpy()

    def plain_step(self) -> tuple[float, Gradients]:
        """The loss of the batch of all rows of train, and its clipped gradient."""
        model, rows, loss = self.plain(self.checkpoint).train(), self.rows("train"), 0.0
        # Images are of one size; batch norm wants to see all of them.
        for part in [rows] if self.images else [[row] for row in rows]:
            mean = model(**_whole_chunks(self.kind, batch(part))).loss * len(part) / len(rows)
            mean.backward()
            loss += float(mean.detach())
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        return loss, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    def by_name(self, groups: list[list[torch.Tensor | None]]) -> Gradients:
        """Gradients in the order of an optimizer's parameters, by the names of the parameters."""
        model = self.plain(self.checkpoint)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        optimizer = make_optimizer(model, 1.0, 0.0, torch.device("cpu"))
        return {
            names[id(parameter)]: given
            for group, found in zip(optimizer.param_groups, groups, strict=True)
            for parameter, given in zip(group["params"], found, strict=True)
            if given is not None
        }


def batch(rows: list[dict[str, Any]], *, labels: bool = True) -> dict[str, torch.Tensor]:
    """Rows of one length as tensors, made without handful."""
    left_out = (*_OURS, *(() if labels else ("labels",)))
    names = [name for name in rows[0] if name not in left_out]
    return {name: torch.tensor([row[name] for row in rows]) for name in names}


def _whole_chunks(kind: str, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Reformer alone pads by itself in evaluation, and refuses to do it in training."""
    if kind != "reformer":
        return found
    more = -found["input_ids"].shape[1] % _CHUNK
    return {n: x if n == "labels" else nn.functional.pad(x, (0, more)) for n, x in found.items()}


@contextmanager
def gradients() -> Iterator[list[list[list[torch.Tensor | None]]]]:
    """What every optimizer is given in the body: step → group → parameter."""
    steps: list[list[list[torch.Tensor | None]]] = []

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        steps.append(
            [
                [None if p.grad is None else p.grad.clone() for p in group["params"]]
                for group in optimizer.param_groups
            ]
        )

    handle = register_optimizer_step_pre_hook(record)
    try:
        yield steps
    finally:
        handle.remove()
