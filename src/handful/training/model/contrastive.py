"""CONTRASTIVE: before its head is fitted, the encoder learns which documents are of one label.

Few documents make many pairs of documents: those of one label are to be near each other, those of
two apart (SetFit: Tunstall et al., Efficient Few-Shot Learning Without Prompts, 2022; the pairs and
their cosine: Reimers & Gurevych, Sentence-BERT, 2019). A batch holds several documents of several
labels and gives all its pairs at once, so that each is computed once and not once a pair.

It is done before the first step of the training, and from the start again if it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from handful.errors import StepError, UserError
from handful.training.cpu.kernels import cpu_kernels, use_cpu_kernels
from handful.training.data.batches import Indices, Plan
from handful.training.data.splits import LABELS
from handful.training.loop import runtime
from handful.training.loop.auto_batch import out_of_memory
from handful.training.loop.optimizer import (
    CLIP_NORM,
    learning_rate_at,
    make_optimizer,
    set_learning_rate,
)
from handful.training.loop.parallel_strategy import WHOLE
from handful.training.model.heads import without_head
from handful.training.model.pooled import HEAD, PooledClassifier
from handful.training.model.pretrained import AUTO

if TYPE_CHECKING:
    from handful.training.model.first_head import Ready

FEW = 16
"""`auto`: up to so many training documents a label, on average; what was measured (bench)."""
_OFF = "off"
_LEAST = 2
"""Labels of a batch, and documents of each: fewer make no pairs of both kinds."""


def tune_encoder(ready: Ready) -> int:
    """Do the stage if CONTRASTIVE asks for it; its steps, 0 if not. `UserError` if it cannot be.

    All processes of a team do the same; then the leader's weights count.
    """
    section = ready.experiment.settings.train_for(ready.order.model)
    if section.CONTRASTIVE == _OFF:
        return 0
    why = _obstacle(ready)
    if section.CONTRASTIVE == AUTO:
        references = ready.data[0].references
        few = len(references) <= FEW * len(np.unique(references))
        if why or not few:
            return 0
    if why:
        raise UserError(
            f"there is no contrastive stage for {ready.order.name}: {why}",
            where="[train] CONTRASTIVE",
            remedy="write auto or off",
        )
    steps = _train(ready)
    for tensor in ready.built.model.state_dict().values():
        ready.team.take_leaders(tensor)
    return steps


def _obstacle(ready: Ready) -> str:
    """Why the stage cannot be; empty if it can."""
    model = ready.built.model
    if not isinstance(model, PooledClassifier):
        return f"{type(model).__name__} pools in a way of its own; see POOLING"
    section = ready.experiment.settings.train_for(ready.order.model)
    if section.AUTO_BATCH or section.GRADIENT_CHECKPOINTING:
        return "its pairs need a batch whole: no AUTO_BATCH, no GRADIENT_CHECKPOINTING"
    if section.SHARDING != WHOLE:
        return "it needs the model whole on every process (SHARDING = none)"
    lengths = ready.data[0].lengths
    if ready.collate.equal_lengths and lengths.min() != lengths.max():
        return "its batches are of documents of one length"
    if not any(each.requires_grad for each in model.encoder.parameters()):
        return "all of its encoder is frozen"
    counts = np.bincount(ready.data[0].references)
    if (counts > 0).sum() < _LEAST or counts.max() < _LEAST:
        return "it needs documents of two labels, and two of one of them"
    return ""


def _train(ready: Ready) -> int:
    order, recipe, team, progress = ready.order, ready.recipe, ready.team, ready.experiment.progress
    section = ready.experiment.settings.train_for(order.model)
    model, data = ready.built.model, ready.data[0]
    device = runtime.default_device()
    model.to(device)
    # fp16 would need its losses scaled.
    bf16 = ready.precision == "bf16"
    total = Plan(len(data), recipe.batch_size, recipe.epochs).total_steps
    name = f"contrastive {order.name}"
    kernels = use_cpu_kernels(section.CPU_KERNELS, progress)
    training = model.training
    model.train()
    with without_head(model, HEAD):
        optimizer = make_optimizer(model, recipe.learning_rate, section.WEIGHT_DECAY, device)
        batches = pair_batches(data.references, recipe.batch_size, order.seed)
        for step, indices in zip(range(total), batches, strict=False):
            if team.any(ready.stopping.heard is not None)[0]:
                ready.stopping.reached()
                raise ready.stopping.error_before()
            rate = learning_rate_at(step, total, recipe.learning_rate, section.WARMUP)
            set_learning_rate(optimizer, rate)
            batch = data.tensors(indices, ready.collate)
            batch = {key: value.to(device) for key, value in batch.items()}
            labels = batch.pop(LABELS)
            try:
                with cpu_kernels(device, compiled=False, on=kernels):
                    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                        vectors = model(**batch).logits
                    loss = pair_loss(vectors, labels)
                    loss.backward()  # type: ignore[no-untyped-call]
            except RuntimeError as error:
                clear = out_of_memory(error, len(indices), batch)
                if clear is None:
                    raise
                what, where = clear.fault.what, clear.fault.where
                remedy = "the contrastive stage takes it at once: lower BATCH_SIZE, or write "
                raise StepError(what, where=where, remedy=f"{remedy}CONTRASTIVE = off") from error
            if not bool(torch.isfinite(loss)):
                raise StepError(
                    f"{name}: the loss of step {step + 1} is {loss.item()}",
                    where="[train] LEARNING_RATE",
                    remedy="lower it, or write CONTRASTIVE = off",
                )
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()
            progress.advance(name, step + 1, total, "steps", {"loss": round(loss.item(), 4)})
    model.train(training)
    progress.note(f"{order.name}: its encoder learned from pairs of documents in {total} steps")
    return total


def pair_loss(vectors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of vectors [B, H] and labels [B]: the mean squared error of the cosines of all pairs, to 1
    where both are of one label, to 0 where not; either kind is half of it. Scalar.

    As many of one kind as of the other are what SetFit draws.
    """
    unit = functional.normalize(vectors.float(), dim=-1)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    cosines = (unit[first] * unit[second]).sum(dim=-1)
    same = labels[first] == labels[second]
    errors = (cosines - same.float()).square()
    kinds = [errors[kind] for kind in (same, ~same) if bool(kind.any())]
    return torch.stack([kind.mean() for kind in kinds]).mean()


def pair_batches(references: Indices, batch_size: int, seed: int) -> Iterator[Indices]:
    """Batches without end of rows whose labels are `references` [N], drawn by `seed` alone.

    Of about `batch_size` rows (at least four): several labels, and as many documents of each, as
    far as there are so many. Each label and each document of a label comes as often as the others.
    """
    draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, len(references)])))
    rows = [np.flatnonzero(references == label) for label in np.unique(references)]
    each = max(_LEAST, batch_size // len(rows))
    many = min(len(rows), max(_LEAST, batch_size // each))
    labels = _round(np.arange(len(rows)), many, draw)
    documents = [_round(one, min(each, len(one)), draw) for one in rows]
    for chosen in labels:
        yield np.concatenate([next(documents[label]) for label in chosen.tolist()])


def _round(what: Indices, size: int, draw: np.random.Generator) -> Iterator[Indices]:
    """`size` of `what`, again and again, none twice at once; each as often as the others."""
    left = what[:0]
    while True:
        if len(left) < size:  # those that were left come first, then the others
            fresh = draw.permutation(what)
            behind = np.isin(fresh, left)
            left = np.concatenate([left, fresh[~behind], fresh[behind]])
        yield left[:size].astype(np.int64)
        left = left[size:]
