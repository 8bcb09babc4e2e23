"""A model that is asked for its logits, and for nothing else: the same answers, sooner.

first_token    of the last layer only what the classifier looks at
side_by_side   several batches at once, each on cores of its own

Nothing of it stays in the model. Where a model is not known to bear it, it is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from handful.training.cpu.first_token import first_token_only
from handful.training.cpu.side_by_side import at_once


@contextmanager
def judging(model: nn.Module, device: torch.device, *, on: bool = True) -> Iterator[int]:
    """How many batches the model may be asked at once, each by a thread of its own.

    More than one only if the model is known to keep nothing of what it is asked. Nothing is done if
    this is not `on`.
    """
    if not on:
        yield 1
        return
    with first_token_only(model) as known:
        yield at_once(device) if known else 1
