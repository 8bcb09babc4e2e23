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
from torch.autograd.function import once_differentiable

from handful.training.dropout import draw, scale_of, words_for

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

    @property
    def most(self) -> int:
        """Heads of the largest part, those of all its examples."""
        return max(_heads_of(part) for part in self.parts())


class Attention(torch.autograd.Function):
    """softmax(q·kᵀ·scale + mask), thinned by dropout, times v.

    q [B, H, L, D], k [B, H, S, D], v [B, H, S, E], all of one floating type; mask as q's type,
    [B or 1, H or 1, L or 1, S], without a gradient, or None.
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
        q = q.mul(scale).contiguous()
        k, v = k.contiguous(), v.contiguous()
        blind = _is_blind(mask)
        sizes = _Sizes(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        answer = q.new_empty(*q.shape[:3], v.shape[3])
        kept = torch.empty(q.shape[:3] + k.shape[2:3], dtype=torch.int8)
        room = [q.new_empty(sizes.most, sizes.queries, sizes.keys) for _ in range(2)]
        words = words_for(room[0].numel())
        for part in sizes.parts():
            scores, other = _rooms(part, room)
            weights = _weights(q[part], k[part], _of(mask, part), blind, scores, other)
            drawn = kept[part].flatten(0, 1)
            draw(drawn, rate, words[: words_for(drawn.numel()).numel()])
            thinned = torch.mul(weights, scores.copy_(drawn), out=scores)
            torch.bmm(thinned, v[part].flatten(0, 1), out=answer[part].flatten(0, 1))
        ctx.save_for_backward(q, k, v, mask, kept)
        ctx.sizes, ctx.blind, ctx.scale, ctx.kept_scale = sizes, blind, scale, scale_of(rate)
        return answer.mul_(ctx.kept_scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, mask, kept = ctx.saved_tensors
        sizes: _Sizes = ctx.sizes
        blind: bool = ctx.blind
        gradient = gradient.mul(ctx.kept_scale).contiguous()
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        room = [q.new_empty(sizes.most, sizes.queries, sizes.keys) for _ in range(3)]
        for part in sizes.parts():
            scores, other, drawn = _rooms(part, room)
            weights = _weights(q[part], k[part], _of(mask, part), blind, scores, other)
            drawn.copy_(kept[part].flatten(0, 1))
            thinned = torch.mul(weights, drawn, out=scores)
            come = gradient[part].flatten(0, 1)
            torch.bmm(thinned.mT, come, out=of_v[part].flatten(0, 1))
            of_weights = torch.bmm(come, v[part].flatten(0, 1).mT, out=scores).mul_(drawn)
            of_scores = torch._softmax_backward_data(
                of_weights, weights, -1, weights.dtype, grad_input=drawn
            )
            torch.bmm(of_scores, k[part].flatten(0, 1), out=of_q[part].flatten(0, 1))
            torch.bmm(of_scores.mT, q[part].flatten(0, 1), out=of_k[part].flatten(0, 1))
        return of_q.mul_(ctx.scale), of_k, of_v, None, None, None


def _heads_of(part: _Part) -> int:
    examples, heads = part
    return int((examples.stop - examples.start) * (heads.stop - heads.start))


def _rooms(part: _Part, room: list[torch.Tensor]) -> list[torch.Tensor]:
    return [one[: _heads_of(part)] for one in room]


def _of(mask: torch.Tensor | None, part: _Part) -> torch.Tensor | None:
    if mask is None:
        return None
    wanted = (one if size > 1 else slice(0, 1) for one, size in zip(part, mask.shape, strict=False))
    return mask[tuple(wanted)]


def _is_blind(mask: torch.Tensor | None) -> bool:
    """May some query see nothing? It gets nothing then, and no NaN, which takes longer."""
    return mask is not None and float(mask.amax(-1).min()) == -math.inf


def _weights(
    q: torch.Tensor,
    k: torch.Tensor,
    mask: torch.Tensor | None,
    blind: bool,
    scores: torch.Tensor,
    room: torch.Tensor,
) -> torch.Tensor:
    """[n, L, S] of q [b, h, L, D], scaled, and k [b, h, S, D]. `scores` is overwritten, and so may
    `room` be, which the answer lies in. `blind`: some query may see nothing."""
    torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT, out=scores)
    if mask is not None:
        scores.view(*q.shape[:3], k.shape[2]).add_(mask)
    if blind:
        return torch._safe_softmax(scores, -1)
    return torch._softmax(scores, -1, False, out=room)


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
        mask = _added(mask, q.dtype)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    with torch.autocast("cpu", enabled=False):
        told = q, k, v, mask, rate, scale
        answer: torch.Tensor = Attention.apply(*told)  # type: ignore[no-untyped-call]
    return answer


def _added(mask: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """[·, ·, ·, S], to be added."""
    mask = mask[(None,) * (4 - mask.ndim)]
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=kind).masked_fill_(~mask, -math.inf)
    return mask.to(kind)
