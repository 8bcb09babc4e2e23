"""An encoder of Transformers, the pooling that it was made for, and one linear layer on top.

Its weights carry the names that the encoder's own classifiers would give them, so that `AutoModel`
opens final/ as it is; the head beside them is `label_head`, which no class of Transformers has and
so none takes for its own.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from handful.errors import StepError, UserError
from handful.training.model.pooling import Pooling

HEAD = "label_head"
_HOME = "handful.training.pooled"
"""By which module stores know these classes, wherever this file stands."""
_LABELS, _MASK = "labels", "attention_mask"
_CHECKPOINTING = ("activation_checkpointing_enable", "gradient_checkpointing_enable")


class PooledClassifier(nn.Module):
    """[B, L] tokens → [B, C] logits, and the mean cross-entropy if there are labels.

    Every encoder has a subclass of its own, whose `forward` names what the encoder's takes.
    """

    def __init__(self, encoder: Any, pooling: Pooling, labels: int) -> None:
        super().__init__()
        self.config: Any = encoder.config
        self.pooling, self.inside = pooling, _prefix(encoder)
        setattr(self, self.inside, encoder)
        dropout = _first(self.config, ("classifier_dropout", "hidden_dropout_prob", "dropout"))
        self.dropout = nn.Dropout(dropout)
        width = int(self.config.get_text_config().hidden_size) * len(pooling.modes)
        self.label_head = nn.Linear(width, labels)
        self.label_head.weight.data.normal_(0.0, getattr(self.config, "initializer_range", 0.02))
        self.label_head.bias.data.zero_()

    @property
    def encoder(self) -> nn.Module:
        """As Transformers has it."""
        found: nn.Module = getattr(self, self.inside)
        return found

    @property
    def supports_gradient_checkpointing(self) -> bool:
        return bool(getattr(self.encoder, "supports_gradient_checkpointing", False))

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Under whichever of its names the encoder has it."""
        for name in _CHECKPOINTING:
            enable: Any = getattr(self.encoder, name, None)
            if enable is not None:
                word = name.partition("_")[0]
                enable(**{f"{word}_checkpointing_kwargs": next(iter(options.values()), None)})
                return

    def forward(self, labels: torch.Tensor | None = None, **features: Any) -> Any:
        """`labels` [B], features [B, L]; gives the scalar `loss`, and `logits` [B, C]."""
        mask = features.get(_MASK)
        if not _has_forward_parameter(self.encoder, _MASK):
            features.pop(_MASK, None)
        states = self.encoder(**features).last_hidden_state
        if mask is not None and mask.shape[:2] != states.shape[:2]:
            raise UserError(
                f"{type(self.encoder).__name__} gives {states.shape[1]} states for "
                f"{mask.shape[1]} tokens, so they cannot be pooled",
                where="[train] POOLING",
                remedy="write POOLING = model",
            )
        vectors = self.dropout(self.pooling.of(states, mask))
        # In full precision: a probe's weights and bias nearly cancel where a value is always large.
        with torch.autocast(vectors.device.type, enabled=False):
            # Without its head, as it is when the vectors are asked for, it gives them as they are.
            stored = getattr(self.label_head, "weight", vectors).dtype
            logits = self.label_head(vectors.to(stored))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def build_pooled_classifier(encoder: nn.Module, pooling: Pooling, labels: int) -> PooledClassifier:
    """`encoder` under `pooling` and a new head for so many labels."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return PooledClassifier.forward(self, *args, **kwargs)

    takes = dict(inspect.signature(encoder.forward).parameters)
    kinds = inspect.Parameter
    own = [
        kinds(name, kinds.KEYWORD_ONLY, default=None)
        for name, one in takes.items()
        if one.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL) and name != _LABELS
    ]
    if _MASK not in takes:
        own.append(kinds(_MASK, kinds.KEYWORD_ONLY, default=None))
    labelled = kinds(_LABELS, kinds.POSITIONAL_OR_KEYWORD, default=None)
    instance = kinds("self", kinds.POSITIONAL_ONLY)
    forward.__signature__ = inspect.Signature([instance, labelled, *own])  # type: ignore[attr-defined]
    name = f"{type(encoder).__name__}Pooled"
    kind = types.new_class(
        name,
        (PooledClassifier,),
        exec_body=lambda body: body.update(forward=forward, __module__=__name__),
    )
    made: PooledClassifier = kind(encoder, pooling, labels)
    return made


def class_name(model: nn.Module) -> str:
    """The class of a model, as what is kept of it says: the same in every release of handful."""
    kind = type(model)
    home = _HOME if isinstance(model, PooledClassifier) else kind.__module__
    return f"{home}.{kind.__qualname__}"


def reopen_pooled(folder: Path, pooling: Mapping[str, Any], labels: int) -> PooledClassifier:
    """The module of a final/ of ours, its weights yet to be filled in. `StepError` if its record
    and its config do not go together."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)  # nosec B615
    kind = next((one for one in _classes(config) if one.__name__ == pooling["encoder"]), None)
    if kind is None:
        raise StepError(
            f"{pooling['encoder']} is no encoder of a {type(config).__name__}", where=str(folder)
        )
    encoder = without_pooler(kind._from_config(config, dtype=torch.float32))
    return build_pooled_classifier(encoder, Pooling.from_json(pooling), labels)


def encoder_class(config: Any) -> Any:
    """Of what has a decoder, too, the encoder alone."""
    from transformers.models.auto import modeling_auto

    if getattr(config, "is_encoder_decoder", False):
        alone = modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING
        if type(config) not in alone:
            raise UserError(
                f"{type(config).__name__.removesuffix('Config')} is encoder and decoder in one",
                where="[train] POOLING",
                remedy="write POOLING = model",
            )
        return alone[type(config)]
    mapping = modeling_auto.MODEL_MAPPING
    if type(config) not in mapping:
        raise UserError(
            f"{type(config).__name__.removesuffix('Config')} has no encoder to be pooled",
            where="[train] POOLING",
            remedy="write POOLING = model",
        )
    found = mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def _classes(config: Any) -> list[Any]:
    """All that `encoder_class` may have found: of T5's family its config does not tell any more."""
    from transformers.models.auto import modeling_auto

    mappings = modeling_auto.MODEL_MAPPING, modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING
    found = [mapping[type(config)] for mapping in mappings if type(config) in mapping]
    return [one for each in found for one in (each if isinstance(each, tuple) else (each,))]


def without_pooler(encoder: Any) -> Any:
    """A pooler that nobody asks would get no gradient, and processes wait for each other's."""
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.pooler = None
    return encoder


def _prefix(encoder: Any) -> str:
    return str(getattr(encoder, "base_model_prefix", "") or "encoder")


def _first(config: Any, names: tuple[str, ...]) -> float:
    """The dropout before a classifier, under whichever name the config has it."""
    values = (getattr(config, name, None) for name in names)
    return float(next((one for one in values if isinstance(one, int | float)), 0.0))


def classifier_of(model: nn.Module) -> nn.Module:
    """The module of Transformers' that `model` is, or that it pools."""
    return model.encoder if isinstance(model, PooledClassifier) else model


def _has_forward_parameter(module: nn.Module, name: str) -> bool:
    return name in inspect.signature(module.forward).parameters
