"""The last layer of a classifier that looks at nothing of it but the first token.

Models of BERT's family classify by the state of the first token. Of their last layer they need the
keys and values of all tokens, but the query, the output and the feed-forward part of that one
only; they compute them of all. While `first_token_only` is entered they do not: the logits are the
same but for rounding, and of a model of six layers about a seventh of the work is saved.

Only models that are exactly those of Transformers are known here, without hooks, and where nobody
wants to see the states of all tokens. Any other model is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from handful.training.cpu.module_checks import is_leaf, is_stock, is_stock_model
from handful.training.model.pooled import PooledClassifier, classifier_of

Forward = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class _Family:
    """What a model must be, in all that lies between its last layer and its logits."""

    model: str
    """Name of its class."""
    layer: str
    """Path of the last layer."""
    parts: Mapping[str, str]
    """Path → class of what must be as Transformers has it."""
    make: Callable[[Any], Forward]


@contextmanager
def first_token_only(model: nn.Module) -> Iterator[bool]:
    """Whether the last layer computes the first token only; what it was is put back at the end.

    For `eval()`: under dropout other random numbers would be drawn. The states of the other tokens
    are not to be asked for meanwhile (`output_hidden_states`).
    """
    inner = _unwrap_lora(model)
    layer = _last_layer(inner)
    if layer is None or isinstance(inner, PooledClassifier):  # which pools all tokens
        yield layer is not None
        return
    layer.forward = _FAMILIES[_module(layer)].make(layer)
    try:
        yield True
    finally:
        # Whoever else judges with this model at the same moment goes on with the whole layer.
        vars(layer).pop("forward", None)


def _unwrap_lora(model: nn.Module) -> nn.Module:
    """What stands in PEFT's wrapper, if that does nothing but LoRA."""
    told: Any = model
    if not _module(model).startswith("peft.") or not hasattr(type(model), "get_base_model"):
        return model
    plain = is_stock_model(model) and all(map(_is_lora, told.peft_config.values()))
    return told.get_base_model() if plain else model


def _is_lora(config: Any) -> bool:
    """Other kinds look across the tokens, or keep in the model what they are asked."""
    kind = getattr(config.peft_type, "value", config.peft_type)
    return kind == "LORA" and not getattr(config, "alora_invocation_tokens", None)


def _last_layer(model: nn.Module) -> Any:
    """None: it is not known what this model makes of its last layer."""
    inner = classifier_of(model)
    family = _FAMILIES.get(_module(inner))
    if family is None:
        return None
    wanted = dict(family.parts)
    if inner is not model:
        wanted.popitem()  # the head is ours
    elif type(model).__name__ != family.model or not is_stock_model(model):
        return None
    try:
        parts = [(_get_part_by_path(model, path), name) for path, name in wanted.items()]
        layer, layers = (
            _get_part_by_path(model, family.layer),
            _get_part_by_path(model, family.layer.rpartition(".")[0]),
        )
    except (AttributeError, IndexError, TypeError):
        return None
    if sum(one is layer for one in layers) != 1 or "forward" in vars(layer):  # it is passed over
        return None
    for part, name in parts:
        if type(part).__name__ != name or _module(part) != _module(inner) or not is_stock(part):
            return None
    leaves = (part for part in layer.modules() if _module(part) != _module(inner))
    if not all(is_leaf(part) and is_stock(part) for part in leaves):
        return None
    return None if _is_watched(model) else layer


def _is_watched(model: nn.Module) -> bool:
    """Does anybody look at more than the logits, attend in another way, or compile?"""
    config: Any = model.config
    if any(getattr(config, name, False) for name in _FULL_OUTPUT_FLAGS):
        return True
    attends = config._attn_implementation == "sdpa"
    if not attends or ALL_ATTENTION_FUNCTIONS["sdpa"].__module__ != _SDPA:
        return True
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._compiled_call_impl is not None
        for part in model.modules()
    )


def _module(part: nn.Module) -> str:
    return type(part).__module__


def _get_part_by_path(part: Any, path: str) -> Any:
    for name in path.split("."):
        part = part[-1] if name == _LAST else getattr(part, name)
    return part


def _like_bert(layer: Any) -> Forward:
    """In a layer of BERT's."""
    of_self, own = layer.attention.self, type(layer).forward
    heads, scale = of_self.num_attention_heads, of_self.scaling

    def forward(
        states: torch.Tensor, attention_mask: object = None, *more: Any, **named: Any
    ) -> Any:
        if not _is_known(attention_mask) or _has_more(*more, *map(named.get, _BESIDE)):
            return own(layer, states, attention_mask, *more, **named)
        first, mask = states[:, :1], _of_first(attention_mask)
        query = of_self.query(first)
        attended = _attend_first_token(
            query, of_self.key, of_self.value, states, mask, heads, scale
        )
        return layer.feed_forward_chunk(layer.attention.output(attended, first))

    return forward


def _like_distilbert(layer: Any) -> Forward:
    """In a layer of DistilBERT's."""
    of_self, own = layer.attention, type(layer).forward
    heads, scale = of_self.n_heads, of_self.scaling

    def forward(states: torch.Tensor, attention_mask: object = None, **named: Any) -> Any:
        if not _is_known(attention_mask) or _has_more(*map(named.get, _BESIDE)):
            return own(layer, states, attention_mask, **named)
        first, mask = states[:, :1], _of_first(attention_mask)
        query = of_self.q_lin(first)
        attended = _attend_first_token(
            query, of_self.k_lin, of_self.v_lin, states, mask, heads, scale
        )
        middle = layer.sa_layer_norm(of_self.out_lin(attended) + first)
        return layer.output_layer_norm(layer.ffn.ff_chunk(middle) + middle)

    return forward


def _attend_first_token(
    query: torch.Tensor,
    key: Any,
    value: Any,
    states: torch.Tensor,
    mask: torch.Tensor | None,
    heads: int,
    scale: float,
) -> torch.Tensor:
    """[B, 1, H·D]: what the first token, with its `query`, sees in `states` [B, L, E].

    A head's scores are q·(K s + b). All tokens have q·b, which the softmax drops, and (Kᵀ q)·s asks
    the states themselves; likewise the weighted mean of V s + b is V (mean of s) + b. So neither
    keys nor values are made, but for a layer that is more than its weights (LoRA's).
    """
    batch = len(states)
    if not (_is_plain(key) and _is_plain(value)):
        q, k, v = (
            one.view(batch, -1, heads, query.shape[2] // heads).transpose(1, 2)
            for one in (query, key(states), value(states))
        )
        seen = functional.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        return seen.transpose(1, 2).reshape(batch, 1, -1)
    of_key, of_value = (one.weight.view(heads, -1, states.shape[2]) for one in (key, value))
    asking = torch.einsum("bhd,hde->bhe", query.view(batch, heads, -1), of_key)[:, None]
    states = states[:, None]
    # The heads are so many queries of one head, as wide as the states.
    seen = functional.scaled_dot_product_attention(asking, states, states, mask, scale=scale)
    found = torch.einsum("bhe,hde->bhd", seen[:, 0], of_value).reshape(batch, 1, -1)
    bias: torch.Tensor | None = value.bias
    if bias is None:
        return found
    # Who may see no token at all gets nothing from torch, not even the mean of the bias.
    seeing = 1 if mask is None else mask.any(-1)
    return found + seeing * bias


def _is_plain(layer: Any) -> bool:
    """No more than its weights (LoRA's is), and these are numbers (a quantised one's are not)."""
    return type(layer) is nn.Linear and type(layer.weight) is nn.Parameter


def _is_known(mask: Any) -> bool:
    """Which keys each query sees, [B, 1, L, L], or the same for all queries; or none: all."""
    if mask is None:
        return True
    of_all_heads = isinstance(mask, torch.Tensor) and mask.ndim == 4 and mask.shape[1] == 1
    return of_all_heads and mask.dtype == torch.bool


def _has_more(*told: object) -> bool:
    return any(one is not None and one is not False for one in told)


def _of_first(mask: Any) -> torch.Tensor | None:
    return mask if mask is None else mask[:, :, :1]


_FULL_OUTPUT_FLAGS = ("output_hidden_states", "output_attentions", "is_decoder", "is_causal")
_SDPA = "transformers.integrations.sdpa_attention"
_LAST = "-1"
_BESIDE = ("past_key_values", "encoder_hidden_states", "encoder_attention_mask", "is_causal")


def _of_bert(name: str, base: str, head: str) -> _Family:
    """`head`: path of what takes the first token, of the class that stands behind it."""
    layer = f"{base}.encoder.layer.{_LAST}"
    path, _, of_head = head.partition(" ")
    parts = {
        base: "Model",
        f"{base}.encoder": "Encoder",
        layer: "Layer",
        f"{layer}.attention": "Attention",
        f"{layer}.attention.self": "SelfAttention",
        f"{layer}.attention.output": "SelfOutput",
        f"{layer}.intermediate": "Intermediate",
        f"{layer}.output": "Output",
        path: of_head,
    }
    return _Family(
        f"{name}ForSequenceClassification",
        layer,
        {path: f"{name}{part}" for path, part in parts.items()},
        _like_bert,
    )


def _modeling(kind: str) -> str:
    return f"transformers.models.{kind}.modeling_{kind}"


_DISTILBERT = _Family(
    "DistilBertForSequenceClassification",
    f"distilbert.transformer.layer.{_LAST}",
    {
        "distilbert": "DistilBertModel",
        "distilbert.transformer": "Transformer",
        f"distilbert.transformer.layer.{_LAST}": "TransformerBlock",
        f"distilbert.transformer.layer.{_LAST}.attention": "DistilBertSelfAttention",
        f"distilbert.transformer.layer.{_LAST}.ffn": "FFN",
    },
    _like_distilbert,
)
_FAMILIES = {
    _modeling("bert"): _of_bert("Bert", "bert", "bert.pooler Pooler"),
    _modeling("distilbert"): _DISTILBERT,
    _modeling("roberta"): _of_bert("Roberta", "roberta", "classifier ClassificationHead"),
    _modeling("xlm_roberta"): _of_bert("XLMRoberta", "roberta", "classifier ClassificationHead"),
    _modeling("camembert"): _of_bert("Camembert", "roberta", "classifier ClassificationHead"),
    _modeling("electra"): _of_bert("Electra", "electra", "classifier ClassificationHead"),
}
"""Module of Transformers → what is known of its classifier."""
