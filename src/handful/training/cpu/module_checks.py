"""Is a module just what its library made of it? Who relies on what it does has to know.

A class of the right name is not enough: forwards are replaced, on an instance or on the class, and
parts are exchanged for others that go by the same name.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from torch import nn

_LEAVES = {
    "torch.nn.modules.linear": {"Linear", "Identity"},
    "torch.nn.modules.normalization": {"LayerNorm"},
    "torch.nn.modules.dropout": {"Dropout"},
    "torch.nn.modules.container": {"ModuleDict", "ParameterDict"},
    "torch.nn.modules.activation": {"GELU", "ReLU", "SiLU", "Tanh"},
    "peft.tuners.lora.layer": {"Linear"},
    "peft.tuners.lora.dora": {"DoraLinearLayer"},
}
"""Module → classes that treat every position by itself."""
_ACTIVATIONS = "transformers.activations"
_WRAPPER, _INNER = "accelerate.utils.operations", "_original_forward"
"""Where Accelerate's outer forward is written, and under which name it keeps the inner one."""


def is_stock(part: nn.Module) -> bool:
    """Is its `forward` the one that is written in the file of its class?"""
    if "forward" in vars(part):
        return False
    owner = next(one for one in type(part).__mro__ if "forward" in vars(one))
    return _is_defined_in_module(vars(owner)["forward"], owner.__module__)


def is_stock_model(model: nn.Module) -> bool:
    """The same of a whole model, which Accelerate may have wrapped for a precision."""
    own = vars(model)
    if "forward" not in own:
        return is_stock(model)
    outer, inner = (getattr(own.get(name), "__func__", None) for name in ("forward", _INNER))
    return (
        getattr(getattr(outer, "__code__", None), "co_filename", "") == _file(_WRAPPER)
        and inner is type(model).forward
        and _is_defined_in_module(inner, type(model).__module__)
    )


def is_leaf(part: nn.Module) -> bool:
    """Is it known to treat every position by itself?"""
    kind = type(part)
    return kind.__module__ == _ACTIVATIONS or kind.__name__ in _LEAVES.get(kind.__module__, ())


def _is_defined_in_module(forward: Any, module: str) -> bool:
    code = getattr(inspect.unwrap(forward), "__code__", None)
    return code is not None and code.co_filename == _file(module)


def _file(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)
