"""How the rows of one model are put together: side, mask and lengths, as the model needs them.

The tokenizer says on which side it pads, and the config with which token. Whether that is right is
tried, not believed: a short row alone and beside a long one must get the same logits. Some stock
models see padding whatever the mask says (convolutions and Fourier transforms over positions); they
get batches of one length.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from handful.errors import UserError
from handful.progress import Progress
from handful.training.data.collate import IDS, LEFT, MASK, RIGHT, Collator
from handful.training.data.padding_trial import Seen, padding_seen
from handful.training.data.splits import SplitData
from handful.training.model.capabilities import check_forward, telling
from handful.training.model.load import pad_values
from handful.training.model.pooled import classifier_of

_TOLERANCE = 1e-3
"""Of logits, absolute and relative: sums in fp32 over padding and without it differ by far less."""
_FULL, _SPARSE = "original_full", "block_sparse"


@dataclass(frozen=True)
class Trial:
    """What the collation of a model is found out with."""

    data: SplitData
    """Rows of the kind that it is for."""
    labels: int
    directory: Path
    """Of the experiment: what its `forward` raises is told with its line there."""
    progress: Progress
    name: str
    """As the progress shows the run."""
    precision: str = "fp32"
    """Of the arithmetic that it is trained in."""


def collation(model: nn.Module, tokenizer: Any | None, trial: Trial) -> Collator:
    """The collator for `model`; `forward` is tried, and leaves the model as it was.

    Tells what it found beyond the usual. `UserError` for what is wrong with `forward` (see
    `check_forward`), and where rows have no attention mask, the model takes none, and yet its
    logits depend on the padding.
    """
    data, progress, name = trial.data, trial.progress, trial.name
    text = IDS in data.features
    collate = Collator(
        pad_values(model, tokenizer),
        side=_tokenizer_padding_side(tokenizer) if text else RIGHT,
        adds_mask=text and MASK not in data.features and _takes(model, MASK),
        least=_least(model, data),
        multiple=_multiple(model),
    )
    if collate.adds_mask:
        progress.note(f"{name}: an attention mask is made from the lengths of input_ids")
    check_forward(model, data, collate, trial.labels, trial.directory, trial.precision)
    with telling(model, trial.directory):
        seen = padding_seen(model, data, collate)
    if seen is None or seen.difference <= _TOLERANCE:
        return collate
    if not _is_stock(model):
        _tell_or_refuse(model, seen, collate, trial)
        return collate
    other = replace(collate, side=RIGHT if collate.side == LEFT else LEFT)
    found = padding_seen(model, data, other)
    if found is not None and found.difference <= _TOLERANCE:
        progress.note(f"{name}: padding stands on the {other.side}, where its logits ignore it")
        return other
    progress.note(
        f"{name}: {type(model).__name__} sees padding{seen.place}, so batches hold texts of one "
        "length"
    )
    return replace(collate, equal_lengths=True)


def collator_from_record(
    record: Mapping[str, Any], model: nn.Module, tokenizer: Any | None
) -> Collator:
    """The collator that a trained model was good with; `record`: its handful.json."""
    if "collation" in record:
        return Collator.from_json(record["collation"])
    return Collator(pad_values(model, tokenizer))  # before there was a choice


def _tokenizer_padding_side(tokenizer: Any | None) -> str:
    return LEFT if getattr(tokenizer, "padding_side", RIGHT) == LEFT else RIGHT


def _takes(model: nn.Module, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters


def _is_stock(model: nn.Module) -> bool:
    return type(classifier_of(model)).__module__.startswith("transformers.")


def _least(model: nn.Module, data: SplitData) -> int:
    """Big Bird's sparse attention turns itself off for good at the first short batch.

    So either every batch is long enough for it, or all attention is full from the start: what
    decides is the longest text.
    """
    config: Any = getattr(model, "config", None)
    if getattr(config, "attention_type", None) != _SPARSE or not _is_stock(model):
        return 0
    enough = (5 + 2 * int(config.num_random_blocks)) * int(config.block_size) + 1
    if int(data.lengths.max(initial=0)) >= enough:
        return enough
    for part in model.modules():
        change: Any = getattr(part, "set_attention_type", None)
        if change is not None:
            change(_FULL)
    config.attention_type = _FULL
    return 0


def _multiple(model: nn.Module) -> int:
    """Reformer is trained on whole chunks only, and with axial positions on all of them."""
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", "") != "reformer" or not _is_stock(model):
        return 1
    if config.axial_pos_embds:
        return math.prod(config.axial_pos_shape)
    chunks = {"lsh": config.lsh_attn_chunk_length, "local": config.local_attn_chunk_length}
    return math.lcm(*(chunks[kind] for kind in set(config.attn_layers)))


def _tell_or_refuse(model: nn.Module, seen: Seen, collate: Collator, trial: Trial) -> None:
    what = (
        f"the logits of a document change by {seen.difference:.2g} when a longer one stands beside "
        f"it in the batch{seen.place}"
    )
    if MASK in trial.data.features or collate.adds_mask:
        remedy = "let forward ignore what the mask hides"
        trial.progress.warn(f"{trial.name}: {what}: {type(model).__name__} reads padding; {remedy}")
        return
    raise UserError(
        f"{what}: the encoded rows have no attention_mask, and {type(model).__name__} reads the "
        "padding as if it were text",
        where="load_model and get_dataset_features in functions.py",
        remedy="return an attention_mask from encode_data and use it in forward, or let every row "
        "have one length",
    )


def give_padding_token(model: nn.Module, tokenizer: Any | None) -> None:
    """A stock model whose config names no padding token takes the tokenizer's.

    Decoders look for the last token that is none: without it they cannot read a batch.
    """
    config: Any = getattr(model, "config", None)
    token = getattr(tokenizer, "pad_token_id", None)
    if config is not None and token is not None and _is_stock(model):
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        for one in (config, text):
            if getattr(one, "pad_token_id", 0) is None:
                one.pad_token_id = token
