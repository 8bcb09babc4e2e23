"""What a model has to be: found out before training, and held in every evaluation."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from handful.errors import UserError
from handful.training.collate import Collator
from handful.training.data import LABELS, SplitData


def check_features(model: torch.nn.Module, features: Iterable[str]) -> None:
    """`UserError` for a feature that `forward` does not take, or for missing labels."""
    names = tuple(features)
    if LABELS not in names:
        raise UserError(
            f"the encoded data has no {LABELS!r}", where="get_dataset_features in functions.py"
        )
    takes = inspect.signature(model.forward).parameters
    # Those of transformers take any further keyword and pass over it in silence.
    strict = type(model).__module__.startswith("transformers.")
    if not strict and any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return
    explicit = [n for n, p in takes.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    unknown = [name for name in names if name not in explicit]
    if unknown:
        raise UserError(
            f"forward of {type(model).__name__} does not take {', '.join(map(repr, unknown))}",
            where="get_dataset_features in functions.py",
            remedy=f"it takes {', '.join(explicit)}",
        )


def check_output(output: Any, batch: Mapping[str, torch.Tensor], labels: int) -> None:
    """`UserError` if `forward` did not return a loss and [B, C] logits, C the number of labels."""
    where = "load_model in functions.py, or MODEL_NAMES"
    logits, loss = getattr(output, "logits", None), getattr(output, "loss", None)
    if not isinstance(logits, torch.Tensor):
        raise UserError(
            f"forward returned {type(output).__name__} without .logits",
            where=where,
            remedy="return an object with .loss and .logits, such as SequenceClassifierOutput",
        )
    if not isinstance(loss, torch.Tensor):
        raise UserError(
            "forward returned no loss, although labels were given",
            where=where,
            remedy="compute .loss from labels in forward",
        )
    examples = len(batch[LABELS])
    if tuple(logits.shape) != (examples, labels):
        raise UserError(
            f"forward returned logits of shape {list(logits.shape)} for {examples} examples; "
            f"there are {labels} labels, so it has to be [{examples}, {labels}]",
            where=where,
            remedy="give the model num_labels=len(label2id)",
        )


def check_forward(model: torch.nn.Module, data: SplitData, collate: Collator, labels: int) -> None:
    """Try `forward` on two examples; `UserError` if it does not return loss and logits."""
    few = data.lengths.argsort(kind="stable")[:2]
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in collate(data.batch(few)).items()}
    training = model.training
    model.eval()
    with torch.inference_mode():
        check_output(model(**batch), batch, labels)
    model.train(training)
