"""Where the frozen part of a model ends, and a model that passes over it.

Layers below the lowest trainable parameter give the same in every epoch. Which those are, no name
tells. It is tried: of the layers in a `ModuleList`, those whose outputs need no gradient; and the
model, given what the last of them gave each row alone, has to learn as it does without: in train
mode, with the same loss and the same gradients. Given something else, it must not.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from handful.training.data.batches import Indices
from handful.training.data.collate import MASK
from handful.training.data.splits import STATES, SplitData
from handful.training.loop.state import random_state, set_random_state

if TYPE_CHECKING:
    from handful.training.data.splits import Collate, Tensors

_CLOSE = 1e-3
"""Of the loss, and of each parameter's gradient: rows are computed beside other neighbours."""
_APART = 10 * _CLOSE
"""What other states have to change, at least: else the trial would see nothing."""
_LAYER_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_now = threading.local()
"""`states`: what the passed layers give in the call that this thread is in."""


@dataclass(frozen=True)
class FrozenLayers:
    """The layers that are passed over, in the order of their calls."""

    layers: tuple[str, ...]
    """Their names in the model."""
    of: int
    """Layers of their kind, with those above."""
    returned: tuple[int, ...]
    """What each returns: 0 for a tensor, else a tuple of so many, of which the first is one."""
    positions: int
    """Of what the last gives [B, L, H], those of a row that has no attention mask: L."""
    width: int
    """H."""
    dtype: str
    """As torch names it."""
    masked: bool
    """Have rows as many positions as their attention mask shows?"""
    still: tuple[str, ...]
    """They, and what is called before them and never later: the outermost."""

    @property
    def last(self) -> str:
        return self.layers[-1]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> FrozenLayers:
        lists = {name: tuple(told[name]) for name in ("layers", "returned", "still")}
        return cls(**{**told, **lists})


def call_with_states(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Any:
    """What `model` answers to `batch`; where that holds `STATES`, the passed layers give them.

    `batch`: tensors [B, …].
    """
    given = dict(batch)
    _now.states = given.pop(STATES, None)
    try:
        return model(**given)
    finally:
        _now.states = None


def find_frozen_layers(
    model: nn.Module, data: SplitData, collate: Collate, rows: Indices
) -> FrozenLayers | None:
    """Where the frozen part of `model` ends; None if it has none whose outputs may be kept.

    `rows`: [n], a few of `data`, best of different lengths. In fp32, where rounding hides no
    mistake. Leaves weights, buffers, mode and generators as they were.
    """
    before, training = random_state(), model.training
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    try:
        batch = _move_batch_to_model(model, collate(data.batch(rows)))
        found = _search_frozen_layers(model, batch)
        if found is None or not _learns_alike(model, found, data, collate, rows):
            return None
        return found
    except Exception:  # noqa: BLE001 - a forward of anybody's, which may need what was passed over
        return None
    finally:
        model.zero_grad(set_to_none=True)
        model.train(training)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
        set_random_state(before)


@contextmanager
def passing(model: nn.Module, frozen: FrozenLayers) -> Iterator[None]:
    """Meanwhile the frozen layers give what `call_with_states` was given, if anything."""
    with ExitStack() as stack:
        for name, size in zip(frozen.layers, frozen.returned, strict=True):
            layer = model.get_submodule(name)
            stack.enter_context(
                _override_layer_method(
                    layer, "forward", _build_passing_forward(layer.forward, size)
                )
            )
        yield


@contextmanager
def hold_frozen_layers_in_eval(model: nn.Module, frozen: FrozenLayers) -> Iterator[None]:
    """Meanwhile the frozen part stays in eval mode, whatever the model's is."""
    with ExitStack() as stack:
        for name in frozen.still:
            part = model.get_submodule(name)
            part.eval()
            stack.enter_context(_override_layer_method(part, "train", _staying(part)))
        yield


@contextmanager
def _override_layer_method(
    part: nn.Module, name: str, method: Callable[..., Any]
) -> Iterator[None]:
    """Meanwhile `part` has this method; it may have had one of its own before."""
    before = vars(part).get(name)
    setattr(part, name, method)
    try:
        yield
    finally:
        vars(part).pop(name, None)
        if before is not None:
            setattr(part, name, before)


def states_of(
    model: nn.Module, frozen: FrozenLayers, batch: Mapping[str, torch.Tensor], precision: str
) -> list[torch.Tensor]:
    """What the last frozen layer gives each row of `batch`, padding left out: [positions, H] each,
    on the CPU. The layers above are not computed. The model has to be in eval mode."""

    def end(_: nn.Module, __: object, output: Any) -> None:
        raise _EnoughError(output if frozen.returned[-1] == 0 else output[0])

    handle = model.get_submodule(frozen.last).register_forward_hook(end)
    try:
        with torch.inference_mode(), _arithmetic(model, precision):
            model(**batch)
    except _EnoughError as found:
        states = found.states.cpu()
    else:
        raise RuntimeError(f"{frozen.last} was not called")
    finally:
        handle.remove()
    if not frozen.masked:
        return list(states)
    return [row[own] for row, own in zip(states, batch[MASK].bool().cpu(), strict=True)]


def join_row_states(
    rows: Sequence[torch.Tensor], batch: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """[B, L, H] out of [positions, H] of each row; zeros where `batch` has padding."""
    counts = {len(row) for row in rows}
    mask = batch.get(MASK)
    if len(counts) == 1 and (mask is None or mask.shape[1:2] == (len(rows[0]),)):
        return torch.stack(list(rows))
    if mask is None:
        raise ValueError("rows of different lengths, and no attention mask to place them by")
    own = mask.bool().cpu()
    found = torch.zeros(*own.shape, rows[0].shape[1], dtype=rows[0].dtype)
    found[own] = torch.cat(list(rows))
    return found


class _EnoughError(Exception):
    def __init__(self, states: torch.Tensor) -> None:
        self.states = states


def _staying(layer: nn.Module) -> Callable[..., nn.Module]:
    def train(mode: bool = True) -> nn.Module:  # noqa: ARG001 - as torch has it
        return layer

    return train


def _build_passing_forward(own: Callable[..., Any], size: int) -> Callable[..., Any]:
    def forward(*args: Any, **named: Any) -> Any:
        states = getattr(_now, "states", None)
        if states is None:
            return own(*args, **named)
        return (states, *[None] * (size - 1)) if size else states

    return forward


@dataclass(frozen=True)
class _Calls:
    """Of one call of a model."""

    entered: tuple[str, ...]
    """The parts that were called, in order."""
    outputs: Mapping[str, list[Any]]
    """Of each layer in a `ModuleList`, by the order of their ends: what it gave."""
    ends: Mapping[str, int]
    """Calls that had begun when such a layer came to its (last) end."""
    learning: frozenset[str]
    """The parts whose outputs need a gradient."""


def _record_layer_calls(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> _Calls:
    entered: list[str] = []
    outputs: dict[str, list[Any]] = {}
    ends: dict[str, int] = {}
    learning: set[str] = set()
    listed = {
        id(one) for part in model.modules() if isinstance(part, nn.ModuleList) for one in part
    }

    def begins(name: str) -> Callable[..., None]:
        return lambda *_: entered.append(name)

    def ended(name: str, layer: bool) -> Callable[..., None]:
        def record(_: nn.Module, __: object, output: Any) -> None:
            if _needs_gradient(output):
                learning.add(name)
            if layer:
                outputs.setdefault(name, []).append(output)
                ends[name] = len(entered)

        return record

    handles = []
    for name, part in model.named_modules():
        handles.append(part.register_forward_pre_hook(begins(name)))
        handles.append(part.register_forward_hook(ended(name, id(part) in listed)))
    try:
        with torch.enable_grad(), _arithmetic(model, "fp32"):
            model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return _Calls(tuple(entered), outputs, ends, frozenset(learning))


def _needs_gradient(output: Any) -> bool:
    if isinstance(output, torch.Tensor):
        return output.requires_grad
    values = output.values() if isinstance(output, Mapping) else output
    return isinstance(values, Iterable) and any(map(_needs_gradient, values))


def _search_frozen_layers(
    model: nn.Module, batch: Mapping[str, torch.Tensor]
) -> FrozenLayers | None:
    calls = _record_layer_calls(model, batch)
    lists = [name for name, part in model.named_modules() if isinstance(part, nn.ModuleList)]
    families = [[name for name in calls.outputs if name.rpartition(".")[0] == one] for one in lists]
    found = [frozen for names in families if (frozen := _lowest(model, names, calls, batch))]
    return max(found, key=lambda frozen: _count_frozen_parameters(model, frozen), default=None)


def _lowest(
    model: nn.Module, names: list[str], calls: _Calls, batch: Mapping[str, torch.Tensor]
) -> FrozenLayers | None:
    """As many of the layers `names`, from the first on, as nothing trains."""
    layers: list[str] = []
    returned: list[int] = []
    states: torch.Tensor | None = None
    for name in names:
        outputs = calls.outputs[name]
        one = outputs[0][0] if isinstance(outputs[0], tuple) and outputs[0] else outputs[0]
        rest = outputs[0][1:] if isinstance(outputs[0], tuple) else ()
        plain = isinstance(one, torch.Tensor) and one.is_floating_point() and one.ndim == 3
        alone = len(outputs) == 1 and all(other is None for other in rest)
        if not plain or not alone or one.requires_grad or _learns(model.get_submodule(name)):
            break
        layers.append(name)
        returned.append(1 + len(rest) if isinstance(outputs[0], tuple) else 0)
        states = one
    if states is None:
        return None
    mask = batch.get(MASK)
    return FrozenLayers(
        layers=tuple(layers),
        of=len(names),
        returned=tuple(returned),
        positions=int(states.shape[1]),
        width=int(states.shape[2]),
        dtype=str(states.dtype).removeprefix("torch."),
        masked=mask is not None and mask.shape == states.shape[:2],
        still=_still(model, calls, layers[-1]),
    )


def _still(model: nn.Module, calls: _Calls, last: str) -> tuple[str, ...]:
    """The outermost of those that are called for the frozen layers alone, and learn nothing."""
    end = calls.ends[last]
    later = {*calls.entered[end:], *calls.learning}
    before = {
        name
        for name in calls.entered[:end]
        if name and name not in later and not last.startswith(f"{name}.")
        if not any(parameter.requires_grad for parameter in model.get_submodule(name).parameters())
        if not _learns(model.get_submodule(name))
    }
    return tuple(n for n in sorted(before) if not any(n.startswith(f"{o}.") for o in before))


def _learns(layer: nn.Module) -> bool:
    """Does it change without a gradient, as the means of batch norms do?"""
    norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    return any(isinstance(m, norms) and m.track_running_stats for m in layer.modules())


def _count_frozen_parameters(model: nn.Module, frozen: FrozenLayers) -> int:
    return sum(p.numel() for name in frozen.layers for p in model.get_submodule(name).parameters())


def _learns_alike(
    model: nn.Module, frozen: FrozenLayers, data: SplitData, collate: Collate, rows: Indices
) -> bool:
    """Does the model learn the same of `rows` if each one's states were computed alone, and
    something else if they are others?"""
    alone = [
        states_of(
            model, frozen, _move_batch_to_model(model, collate(data.batch(rows[n : n + 1]))), "fp32"
        )[0]
        for n in range(len(rows))
    ]
    batch = _move_batch_to_model(model, collate(data.batch(rows)))
    states = join_row_states([row.clone() for row in alone], batch).to(
        next(model.parameters()).device
    )
    with hold_frozen_layers_in_eval(model, frozen), passing(model, frozen):
        wanted = _lesson(model, batch)
        found = _lesson(model, {**batch, STATES: states})
        other = _lesson(model, {**batch, STATES: states.roll(1, -1)})
    return _difference(wanted, found) <= _CLOSE and _difference(wanted, other) >= _APART


def _lesson(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The loss, and what is learned of it: in train mode, always by the same random numbers."""
    model.train()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with torch.enable_grad(), _arithmetic(model, "fp32"):
        loss = call_with_states(model, batch).loss
        loss.backward()
    named = {n: p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None}
    return {"": loss.detach(), **named}


def _difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The greatest of any tensor's, by its size; by the whole's where it is next to nothing."""
    if one.keys() != other.keys():
        return math.inf
    whole = max(float(tensor.norm()) for tensor in one.values())
    return max(
        float((one[name] - other[name]).norm())
        / max(float(one[name].norm()), _CLOSE * whole, 1e-12)
        for name in one
    )


def _move_batch_to_model(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Tensors:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _arithmetic(model: nn.Module, precision: str) -> torch.autocast:
    kind = _LAYER_AUTOCAST_DTYPES.get(precision)
    device = next(model.parameters()).device.type
    return torch.autocast(device, kind, enabled=kind is not None)
