"""Who holds which part of the model while it trains: everybody all of it, or each a shard.

`Whole`: one process, or several under DDP. `Sharded`: SHARDING = fsdp; each process holds its part
of every weight, gradient and optimizer state, and gathers a block's weights when it is that block's
turn (ZeRO stage 3, Rajbhandari et al., 2020, as torch's `fully_shard`).

Both leave the same files behind: whole safetensors, with the names of the module itself. For that
the leader of a sharded team keeps a copy of the module on its CPU, into which the weights are
gathered. The methods are called by all processes together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from handful.errors import UserError
from handful.training.loop.optimizer import CLIP_NORM, make_optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator

    from handful.training.loop.train_context import Work

WHOLE, FSDP = "none", "fsdp"


class Holding(Protocol):
    """A model in training, with its optimizer."""

    model: nn.Module
    """To be called in training."""
    module: nn.Module
    """To be called in validation."""
    optimizer: torch.optim.Optimizer

    def exchanging(self, ready: bool) -> AbstractContextManager[None]:
        """Around the backward pass of a part of a batch; `ready`: it is the last part."""

    def step(self) -> torch.Tensor:
        """Clip the gradient, take the step, forget the gradient; the gradient's norm (scalar)."""

    def gathered(self) -> nn.Module:
        """On the leader a module that holds all the weights as they are now."""

    def fill(self, load: Callable[[nn.Module], None]) -> None:
        """Take the weights that `load` puts into a whole module."""

    def optimizer_state(self) -> dict[str, Any]:
        """On the leader the whole state of the optimizer, on the CPU if it is sharded."""

    def fill_optimizer(self, state: Mapping[str, Any]) -> None:
        """Go on with what `optimizer_state` gave the leader."""


def held(model: nn.Module, work: Work, accelerator: Accelerator) -> Whole | Sharded:
    """`model` as `SHARDING` asks for. `UserError` for what does not go together."""
    section = work.section
    if section.SHARDING == WHOLE:
        return Whole(model, work, accelerator)
    for clash, key in (
        (section.AUTO_BATCH, "AUTO_BATCH = true"),
        (section.COMPILE, "COMPILE = true"),
        (section.PRECISION == "fp16", "PRECISION = fp16"),
    ):
        if clash:
            raise UserError(
                f"SHARDING = fsdp does not go with {key}",
                where="[train] SHARDING",
                remedy=f"leave out one of the two: {key.partition(' ')[0]} or SHARDING",
            )
    return Sharded(model, work, accelerator)


class Whole:
    """Everybody holds everything."""

    def __init__(self, model: nn.Module, work: Work, accelerator: Accelerator) -> None:
        model.to(accelerator.device)
        self.optimizer: torch.optim.Optimizer = _optimizer(model, work, accelerator)
        self.model: nn.Module
        self.model, self._stepper = accelerator.prepare(model, self.optimizer)
        self.module: nn.Module = accelerator.unwrap_model(self.model)
        self._accelerator = accelerator

    def exchanging(self, ready: bool) -> AbstractContextManager[None]:
        alone: AbstractContextManager[None] = self._accelerator.no_sync(self.model)
        return nullcontext() if ready else alone

    def step(self) -> torch.Tensor:
        """See `Holding`; a scalar."""
        norm = self._accelerator.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self._stepper.step()
        self._stepper.zero_grad()
        return torch.as_tensor(norm)

    def gathered(self) -> nn.Module:
        return self.module

    def fill(self, load: Callable[[nn.Module], None]) -> None:
        load(self.module)

    def optimizer_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def fill_optimizer(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(dict(state))


class Sharded:
    """Each process holds its part."""

    def __init__(self, model: nn.Module, work: Work, accelerator: Accelerator) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        self._leads = work.team.leads
        self._twin = copy.deepcopy(model) if work.team.leads else None
        # Autocast as everywhere; the weights come in bf16 already when they are gathered.
        model = accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        bf16 = accelerator.mixed_precision == "bf16"
        kind = torch.bfloat16 if bf16 else None
        policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32)
        mesh = init_device_mesh(accelerator.device.type, (work.team.size,))
        # Block by block, so that no device ever holds more than one of them whole.
        for block in [*blocks(model), model]:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        self.model: Any = model
        self.module: nn.Module = model
        self.fill(
            lambda _: None
        )  # should load_model have drawn otherwise there, the leader's count
        self.optimizer: torch.optim.Optimizer = _optimizer(model, work, accelerator)

    def exchanging(self, ready: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()  # gradients that are held back would be held whole

    def step(self) -> torch.Tensor:
        """See `Holding`; a scalar."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return _gather_full_tensor(norm)

    def gathered(self) -> nn.Module:
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        self._reshard_model()
        state = get_model_state_dict(self.model, options=_options())
        if self._twin is None:
            return self.module
        self._twin.load_state_dict(state)
        return self._twin

    def fill(self, load: Callable[[nn.Module], None]) -> None:
        from torch.distributed.checkpoint.state_dict import set_model_state_dict

        state: dict[str, Any] = {}
        if self._twin is not None:
            load(self._twin)
            state = self._twin.state_dict()
        self._reshard_model()
        set_model_state_dict(self.model, state, options=_options(send=True))

    def optimizer_state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        self._reshard_model()
        return get_optimizer_state_dict(self.model, self.optimizer, options=_options())

    def fill_optimizer(self, state: Mapping[str, Any]) -> None:
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        self._reshard_model()
        mine = dict(state) if self._leads else {}
        set_optimizer_state_dict(self.model, self.optimizer, mine, options=_options(send=True))

    def _reshard_model(self) -> None:
        """Each has its part only: a forward pass without a backward leaves the outermost whole."""
        self.model.reshard()


def _optimizer(model: nn.Module, work: Work, accelerator: Accelerator) -> torch.optim.Optimizer:
    rate, decay = work.recipe.learning_rate, work.section.WEIGHT_DECAY
    return make_optimizer(model, rate, decay, accelerator.device, work.pace)


def _options(*, send: bool = False) -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=not send, broadcast_from_rank0=send)


def _gather_full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The parts that are gathered one after the other: the model's layers.

    Those that a model of transformers names as its blocks; of another, what its outermost
    `ModuleList`s hold. Without either the model is one block.
    """
    named = {
        name for part in model.modules() for name in getattr(part, "_no_split_modules", None) or ()
    }
    found = [part for part in model.modules() if type(part).__name__ in named]
    return iter(found) if found else _list_module_blocks(model)


def _list_module_blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from _list_module_blocks(child)
            continue
        for item in child:
            if isinstance(item, nn.ModuleList | nn.ModuleDict):  # nobody calls these
                yield from _list_module_blocks(item)
            elif any(True for _ in item.parameters()):
                yield item


def is_sharded(model: nn.Module) -> bool:
    """Do the processes have to call it all together?"""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)
