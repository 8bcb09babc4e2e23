"""How the states of a text's tokens become one vector: the pooling that a checkpoint was made for.

Checkpoints of sentence-transformers say so in `modules.json` (Reimers & Gurevych, Sentence-BERT,
2019). Their other modules (Dense, prompts) are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handful.errors import UserError

CLS, MEAN, MAX, LAST = "cls", "mean", "max", "last"
_WEIGHTED, _ROOT = "weighted_mean", "mean_root_length"
_THEIRS = {
    "cls": CLS,
    "max": MAX,
    "mean": MEAN,
    "mean_sqrt_len_tokens": _ROOT,
    "weightedmean": _WEIGHTED,
    "lasttoken": LAST,
}
"""Their name → ours; in the order in which they are set side by side."""
_POOLING_MODE_FLAGS = (
    ("cls_token", "cls"),
    ("max_tokens", "max"),
    ("mean_tokens", "mean"),
    ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("weightedmean_tokens", "weightedmean"),
    ("lasttoken", "lasttoken"),
)
"""How older checkpoints say it: `pooling_mode_<…>` is true."""
_MODULES = "modules.json"


@dataclass(frozen=True)
class Pooling:
    """The modes whose vectors are set side by side, and whether the result has length 1."""

    modes: tuple[str, ...]
    normalize: bool = False

    def __str__(self) -> str:
        return " + ".join(self.modes) + (", normalized" if self.normalize else "")

    def to_json(self) -> dict[str, Any]:
        return {"modes": list(self.modes), "normalize": self.normalize}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Pooling:
        """ValueError for modes that are not known."""
        modes = tuple(str(mode) for mode in told["modes"])
        if not modes or not set(modes) <= set(_THEIRS.values()):
            raise ValueError(f"no pooling: {modes!r}")
        return cls(modes, bool(told["normalize"]))

    def of(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """[B, L, H] states and [B, L] mask (1: a token) → [B, H · modes], in fp32.

        A normalized vector is given the length √(H · modes), so that its values are of the usual
        size and a new head learns from it as fast as from any other.
        """
        states = states.float()
        if mask is None:
            mask = states.new_ones(states.shape[:2])
        found = torch.cat([_pool_token_states(mode, states, mask) for mode in self.modes], dim=-1)
        if not self.normalize:
            return found
        unit: torch.Tensor = torch.nn.functional.normalize(found, dim=-1)
        return unit * float(found.shape[-1] ** 0.5)


def _pool_token_states(mode: str, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mode in (CLS, LAST):
        return _select_edge_token(states, mask, first=mode == CLS)
    kept = mask.unsqueeze(-1).to(states.dtype)
    if mode == MAX:
        return states.masked_fill(kept == 0, torch.finfo(states.dtype).min).amax(dim=1)
    if mode == _WEIGHTED:  # the later, the more
        kept = kept * kept.cumsum(dim=1)
    total = kept.sum(dim=1).clamp(min=1e-9)
    return (states * kept).sum(dim=1) / (total.sqrt() if mode == _ROOT else total)


def _select_edge_token(states: torch.Tensor, mask: torch.Tensor, *, first: bool) -> torch.Tensor:
    """[B, H]: the first or the last that is no padding, on whichever side that stands."""
    places = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    if first:
        place = torch.where(mask != 0, places, mask.shape[1] - 1).amin(dim=1)
    else:
        place = torch.where(mask != 0, places, 0).amax(dim=1)
    return states.gather(1, place[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)


def read_checkpoint_pooling(name: str) -> Pooling | None:
    """What the checkpoint `name` (a directory, or a hub name) says; None if it says nothing.

    `UserError` if it says what cannot be read or is not known.
    """
    modules = _read_checkpoint_json(name, _MODULES)
    if modules is None:
        return None
    try:
        steps = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in modules]
        paths = [path for kind, path in steps if kind == "Pooling"]
        if not paths:
            return None
        modes = _modes(_read_checkpoint_json(name, f"{paths[0]}/config.json") or {})
        return Pooling(modes, any(kind == "Normalize" for kind, _ in steps))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the pooling of {name} is not known: {error}",
            where=f"{_MODULES} of the model",
            remedy="write [train] POOLING = mean (or cls, max, last, model)",
        ) from error


def _modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Both of their forms: one key with names, or a flag for each."""
    named = config.get("pooling_mode")
    if named is None:
        found = [name for flag, name in _POOLING_MODE_FLAGS if config.get(f"pooling_mode_{flag}")]
        named = found or ["mean"]
    return tuple(_THEIRS[name] for name in ([named] if isinstance(named, str) else named))


def _read_checkpoint_json(name: str, path: str) -> Any:
    """A JSON file of the checkpoint; None if there is none, or nobody who could be asked."""
    if Path(name).is_dir():
        found: str | None = str(Path(name) / path)
    else:
        from transformers.utils.hub import cached_file

        found = cached_file(
            name,
            path,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    try:
        return json.loads(Path(found).read_text()) if found else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} of the model {name} cannot be read: {error}") from error
