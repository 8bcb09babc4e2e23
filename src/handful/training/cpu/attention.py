"""Attention with dropout on a CPU, heads by heads, so that what is between them stays in its cache.

With dropout torch has only the plain way there: the scores, the weights, and what is left of them,
whole and one after the other, each kept for the way back. Here as much is computed at once as the
cache holds, and on the way back the weights are computed again from queries and keys (as in Dao et
al., "FlashAttention", 2022); kept is one byte a weight, which tells whether it was dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from handful.training.cpu.dropout import draw, scale_of, words_for

_Part = tuple[slice, slice]
"""Examples, and heads."""

AT_ONCE = 1 << 19
"""Weights that are computed at once: 2 MiB of them in fp32."""


@dataclass(frozen=True)
class _Sizes:
    """batch × heads × queries × keys."""

    batch: int
    heads: int
    queries: int
    keys: int

    def parts(self) -> Iterator[_Part]:
        """Which examples and heads go together: whole examples, or some heads of one."""
        one = self.queries * self.keys
        examples, heads = AT_ONCE // (one * self.heads), max(1, AT_ONCE // one)
        if examples:
            for first in range(0, self.batch, examples):
                yield slice(first, min(first + examples, self.batch)), slice(0, self.heads)
            return
        for example in range(self.batch):
            for first in range(0, self.heads, heads):
                last = min(first + heads, self.heads)
                yield slice(example, example + 1), slice(first, last)

    def room(self, kind: torch.dtype) -> torch.Tensor:
        """For the weights of the largest part."""
        most = max(_heads_of(part) for part in self.parts())
        return torch.empty(most, self.queries, self.keys, dtype=kind)


@dataclass(frozen=True)
class _Told:
    """What both ways need beside tensors."""

    sizes: _Sizes
    scale: float
    kept_scale: float
    blind: bool
    """Some query may see nothing."""


class Attention(torch.autograd.Function):
    """softmax(q·kᵀ·scale + mask), thinned by dropout, times v.

    q [B, H, L, D], k [B, H, S, D], v [B, H, S, E], all of one floating type; mask
    [B or 1, H or 1, L or 1, S], of q's type, without a gradient and nobody else's, or None.
    Scores and weights are fp32 where q is bf16, as torch has them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None,
        rate: float,
        scale: float,
    ) -> torch.Tensor:
        kept = torch.empty(_attention_score_shape(q, k), dtype=torch.int8)  # (B, H, L, S)
        ctx.save_for_backward(q, k, v, mask, kept)
        sizes = _Sizes(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        told = ctx.told = _Told(sizes, scale, scale_of(rate), _is_blind(mask))
        exact_q, exact_k, v = _exact(q).mul(scale), _exact(k), v.contiguous()
        answer = q.new_empty(*q.shape[:3], v.shape[3])  # (B, H, L, E)
        scores, scratch = (sizes.room(exact_q.dtype) for _ in range(2))  # (n, L, S)
        rounded = scores if scores.dtype == q.dtype else sizes.room(q.dtype)  # (n, L, S)
        words = words_for(rounded.numel())
        for part in sizes.parts():
            chunk = slice(0, _heads_of(part))  # of n: examples × heads at once
            weights = _weights(exact_q, exact_k, mask, part, told, scores[chunk], scratch[chunk])
            drawn = kept[part].flatten(0, 1)  # (n, L, S)
            draw(drawn, rate, words[: words_for(drawn.numel()).numel()])
            thinned = torch.mul(weights, scores[chunk].copy_(drawn), out=rounded[chunk])
            torch.bmm(thinned, v[part].flatten(0, 1), out=answer[part].flatten(0, 1))
        return answer.mul_(told.kept_scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, mask, kept = ctx.saved_tensors  # (B, H, L, D), (B, H, S, D), (B, H, S, E), …
        told: _Told = ctx.told
        # Who wants to go on from the gradient, or has many at once, gets it by torch's own means.
        many = torch._C._functorch.is_legacy_batchedtensor(gradient)
        if many or torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
            return (*_by_the_formula((q, k, v), mask, kept, told, gradient), None, None, None)
        sizes = told.sizes
        grad_out = gradient.mul(told.kept_scale).contiguous()  # (B, H, L, E)
        exact_q, exact_k = _exact(q).mul(told.scale), _exact(k)  # (B, H, L, D), (B, H, S, D)
        scaled_q, k, v = exact_q.to(q.dtype), k.contiguous(), v.contiguous()
        grad_q = torch.empty_like(scaled_q)  # (B, H, L, D)
        grad_k, grad_v = torch.empty_like(k), torch.empty_like(v)  # (B, H, S, D), (B, H, S, E)
        scores, scratch, drawn = (sizes.room(exact_q.dtype) for _ in range(3))  # (n, L, S)
        rounded = scores if scores.dtype == q.dtype else sizes.room(q.dtype)  # (n, L, S)
        for part in sizes.parts():
            chunk = slice(0, _heads_of(part))  # of n: examples × heads at once
            weights = _weights(exact_q, exact_k, mask, part, told, scores[chunk], scratch[chunk])
            thinning = drawn[chunk].copy_(kept[part].flatten(0, 1))  # (n, L, S)
            thinned = torch.mul(weights, thinning, out=rounded[chunk])
            grad_chunk = grad_out[part].flatten(0, 1)  # (n, L, E)
            torch.bmm(thinned.mT, grad_chunk, out=grad_v[part].flatten(0, 1))
            grad_thinned = torch.bmm(grad_chunk, v[part].flatten(0, 1).mT, out=rounded[chunk])
            grad_weights = torch.mul(grad_thinned, thinning, out=scores[chunk])
            grad_scores = torch._softmax_backward_data(
                grad_weights, weights, -1, weights.dtype, grad_input=thinning
            )
            if rounded is not scores:
                grad_scores = rounded[chunk].copy_(grad_scores)
            torch.bmm(grad_scores, k[part].flatten(0, 1), out=grad_q[part].flatten(0, 1))
            torch.bmm(grad_scores.mT, scaled_q[part].flatten(0, 1), out=grad_k[part].flatten(0, 1))
        return grad_q.mul_(told.scale), grad_k, grad_v, None, None, None


def _by_the_formula(
    inputs: tuple[torch.Tensor, ...],
    mask: torch.Tensor | None,
    kept: torch.Tensor,
    told: _Told,
    gradient: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """The gradients of q, k and v, from which one can go on."""
    with torch.enable_grad():
        # Names of their own: q, k and v may be one tensor.
        q, k, v = (one.view_as(one) for one in inputs)
        scores = _exact(q) @ _exact(k).mT * told.scale
        weights = _softmax(scores if mask is None else scores + mask, told.blind)
        answer = (weights * kept * told.kept_scale).to(v.dtype) @ v
        return torch.autograd.grad(answer, (q, k, v), gradient, create_graph=True)


def _attention_score_shape(q: torch.Tensor, k: torch.Tensor) -> tuple[int, ...]:
    return (*q.shape[:3], k.shape[2])


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous()


def _heads_of(part: _Part) -> int:
    examples, heads = part
    return int((examples.stop - examples.start) * (heads.stop - heads.start))


def _is_blind(mask: torch.Tensor | None) -> bool:
    """May some query see nothing? It gets nothing then, and no NaN, which takes longer."""
    return mask is not None and float(mask.amax(-1).min()) == -math.inf


def _weights(
    q: torch.Tensor,
    k: torch.Tensor,
    mask: torch.Tensor | None,
    part: _Part,
    told: _Told,
    scores: torch.Tensor,
    scratch: torch.Tensor,
) -> torch.Tensor:
    """[n, L, S] of a part; q is scaled. `scores` is overwritten, and so may `scratch` be, which the
    answer lies in."""
    torch.bmm(q[part].flatten(0, 1), k[part].flatten(0, 1).mT, out=scores)
    if mask is not None:
        wanted = tuple(
            one if size > 1 else slice(0, 1) for one, size in zip(part, mask.shape, strict=False)
        )
        scores.view(_attention_score_shape(q[part], k[part])).add_(mask[wanted])
    return _softmax(scores, blind=True) if told.blind else torch.softmax(scores, -1, out=scratch)


def _softmax(scores: torch.Tensor, blind: bool) -> torch.Tensor:
    """Along the keys, [·, L, S]; if some query may be `blind`, its weights are 0, and no NaN."""
    if not blind:
        return torch.softmax(scores, -1)
    unseen = (scores == -math.inf).all(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(unseen, 0), -1).masked_fill(unseen, 0)


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    rate: float,
    scale: float | None,
) -> torch.Tensor:
    """[B, H, L, E], as torch's `scaled_dot_product_attention` with `dropout_p=rate`.

    `mask`: boolean (True: may be seen) or added to the scores. `scale`: 1/√D if it is None.
    """
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        q, k, v = q.to(kind), k.to(kind), v.to(kind)
    if mask is not None:
        mask = _additive_mask(mask, q.dtype)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    with torch.autocast("cpu", enabled=False):
        told = q, k, v, mask, rate, scale
        answer: torch.Tensor = Attention.apply(*told)  # type: ignore[no-untyped-call]
    return answer


def _additive_mask(mask: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """[·, ·, ·, S], to be added; a copy, for the caller may change its own before the way back."""
    mask = mask[(None,) * (4 - mask.ndim)]
    for dimension, stride in enumerate(mask.stride()[:3]):
        if stride == 0:
            mask = mask.narrow(dimension, 0, 1)  # the same all along
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=kind).masked_fill_(~mask, -math.inf)
    return mask.to(kind, copy=True)
