"""What a model has to be: found out before training, and held in every evaluation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from handful.errors import UserError
from handful.errors.exceptions import Ended, contain_user_errors, message, original
from handful.training.calls import place
from handful.training.data.collate import Collator
from handful.training.data.splits import LABELS, SplitData
from handful.training.loop.auto_batch import is_out_of_memory
from handful.training.model.weight_dtypes import NAMES


def check_features(model: torch.nn.Module, features: Iterable[str]) -> None:
    """`UserError` for a feature that `forward` does not take, or for missing labels."""
    names = tuple(features)
    if LABELS not in names:
        raise UserError(
            f"the encoded data has no {LABELS!r}", where="get_dataset_features in functions.py"
        )
    takes = inspect.signature(model.forward).parameters
    # Those of transformers take any further keyword and pass over it in silence, all but labels.
    strict = type(model).__module__.startswith("transformers.")
    if not strict and any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return
    explicit = [n for n, p in takes.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    through = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    unknown = [n for n in names if n not in explicit and not (n == LABELS and through)]
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
    if loss.numel() not in (1, examples):
        raise UserError(
            f"forward returned a loss of shape {list(loss.shape)}",
            where=where,
            remedy="return its mean: a scalar",
        )
    if tuple(logits.shape) != (examples, labels):
        raise UserError(
            f"forward returned logits of shape {list(logits.shape)} for {examples} examples; "
            f"there are {labels} labels, so it has to be [{examples}, {labels}]",
            where=where,
            remedy="give the model num_labels=len(label2id)",
        )


def check_forward(
    model: torch.nn.Module,
    data: SplitData,
    collate: Collator,
    labels: int,
    directory: Path,
    precision: str = "fp32",
) -> None:
    """Try `forward` on the two longest examples; `UserError` if it does not return loss and logits
    that can be trained on, or not in `precision`. What it raises is told with its line in the
    experiment's `directory`."""
    few = (-data.lengths).argsort(kind="stable")[:2]
    if collate.equal_lengths:
        few = few[:1]
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in collate(data.batch(few)).items()}
    check_ids(model, batch)
    training = model.training
    model.eval()
    try:
        with telling(model, directory), torch.enable_grad():
            output = model(**batch)
        if precision in NAMES and precision != "fp32":
            _check_half(model, batch, precision)
    finally:
        model.train(training)
    check_output(output, batch, labels)
    if not output.loss.requires_grad:
        raise UserError(
            "forward returned a loss that no weight has a part in",
            where="load_model in functions.py",
            remedy="compute it from the logits with torch, not under no_grad, and do not detach it",
        )


def _check_half(model: torch.nn.Module, batch: Mapping[str, torch.Tensor], precision: str) -> None:
    device = next(model.parameters()).device.type
    try:
        with torch.inference_mode(), torch.autocast(device, NAMES[precision]):
            model(**batch)
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        words = " ".join(str(error).split())[:200]
        raise UserError(
            f"{type(model).__name__} cannot compute in {precision}, as it does in fp32: {words}",
            where="[train] PRECISION",
            remedy="write fp32",
        ) from error


@contextmanager
def telling(model: torch.nn.Module, directory: Path) -> Iterator[None]:
    """What `forward` raises in the body as a `UserError`, with its line in the experiment's
    `directory`; a lack of memory stays what it is."""
    try:
        with contain_user_errors():
            yield
    except (RuntimeError, IndexError, ValueError, TypeError, KeyError, Ended) as error:
        if is_out_of_memory(error):
            raise
        raise _build_forward_error(model, error, directory) from error


def check_trainable(model: torch.nn.Module) -> None:
    """`UserError` for a model without a single trainable weight."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            f"no weight of {type(model).__name__} is trainable: requires_grad is False for all "
            "of them",
            where="load_model in functions.py",
            remedy="freeze parts of the model only, and leave the head as it is",
        )


def check_ids(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> None:
    """`UserError` for a token that the model does not know: a GPU would never recover from it.

    `batch`: `input_ids` [B, L], if there are any.
    """
    fault = unknown_ids(model, batch)
    if fault:
        raise UserError(
            fault,
            where="encode_data in functions.py",
            remedy="encode with the tokenizer that belongs to the model",
        )


def unknown_ids(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> str:
    """What is wrong with `input_ids` for a model that says which it knows; empty if nothing is.

    `batch`: `input_ids` [B, L].
    """
    ids = batch.get("input_ids")
    try:
        known = getattr(getattr(model, "get_input_embeddings")(), "num_embeddings", None)  # noqa: B009
    except (NotImplementedError, AttributeError):  # models without embeddings say so like this
        return ""
    if ids is None or known is None or not ids.numel() or ids.is_floating_point():
        return ""
    low, high = int(ids.min()), int(ids.max())
    if low >= 0 and high < known:
        return ""
    return f"input_ids go from {low} to {high}, and {type(model).__name__} knows 0 to {known - 1}"


_NO_PADDING_TOKEN = re.compile(r"padding token|pad_token", re.IGNORECASE)


def _build_forward_error(model: torch.nn.Module, error: Exception, directory: Path) -> UserError:
    words = " ".join(message(error).split())[:300]
    remedy = "forward has to take a batch of what encode_data returns"
    if _NO_PADDING_TOKEN.search(words):
        remedy = (
            "neither the model nor its tokenizer names a padding token: write a load_model that "
            "sets model.config.pad_token_id, for a decoder usually to its eos_token_id"
        )
    line = place(directory, error)
    where = f"{line} in forward" if ":" in line else f"forward of {type(model).__name__}"
    kind = type(original(error)).__name__
    return UserError(f"{kind}: {words}", where=where, remedy=remedy)
