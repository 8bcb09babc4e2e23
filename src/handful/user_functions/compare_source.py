"""Is what a written source makes what stands here? It is run once, and the two are compared.

Objects drift from their sources: a file is edited after it was imported, a wrapper is put on by an
assignment, an attribute is set later, a default was computed from a name that means something else
by now. A source that would make something else than what was tried here must not be written.
"""

from __future__ import annotations
import __future__

import dis
import inspect
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any

from handful.errors.exceptions import describe_exception

_WRITTEN = "handful_written_functions"
_FUTURE = __future__.annotations.compiler_flag
_NOT_ITS_OWN = {
    *("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__"),
}
"""What Python adds, and what says where something was defined."""


_CALLING = {"CACHE", "EXTENDED_ARG", "PRECALL", "PUSH_NULL", "RESUME"}
_ONE_FORM = {"LOAD_METHOD": "LOAD_ATTR"}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}


class CannotBeImported(Exception):
    """What is written raised an error."""


def find_differences(text: str, here: Mapping[str, Any]) -> list[str]:
    """The names of `here` that `text`, run as a module, makes otherwise; `CannotBeImported`."""
    written = vars(_run(text))
    return [name for name, thing in here.items() if not _is_same(thing, written[name], set())]


def _run(text: str) -> ModuleType:
    module = ModuleType(_WRITTEN)
    sys.modules[_WRITTEN] = module  # dataclasses look their own module up
    try:
        exec(compile(text, "functions.py", "exec", dont_inherit=True), vars(module))  # nosec B102 - the caller's own code
    except Exception as error:
        raise CannotBeImported(describe_exception(error)) from error
    finally:
        del sys.modules[_WRITTEN]
    return module


def _is_same(here: Any, there: Any, seen: set[tuple[int, int]]) -> bool:
    """Equal in code, defaults and state, as far as these can be seen."""
    pair = (id(here), id(there))
    if here is there or pair in seen:
        return True
    seen.add(pair)
    if type(here).__qualname__ != type(there).__qualname__:
        return False
    if isinstance(here, int | float | complex | str | bytes):
        return repr(here) == repr(there)
    if isinstance(here, set | frozenset):
        return bool(here == there)
    if isinstance(here, list | tuple):
        return len(here) == len(there) and all(
            _is_same(one, other, seen) for one, other in zip(here, there, strict=True)
        )
    if isinstance(here, Mapping):
        return _are_same_items(here, there, seen)
    parts = _parts(here)
    return parts is None or _is_same(parts, _parts(there), seen)


def _are_same_items(
    here: Mapping[Any, Any], there: Mapping[Any, Any], seen: set[tuple[int, int]]
) -> bool:
    """By their keys, where these are texts; else by their number alone."""
    if not all(isinstance(key, str) for key in here):
        return len(here) == len(there)
    return here.keys() == there.keys() and all(_is_same(here[k], there[k], seen) for k in here)


def _parts(thing: Any) -> Sequence[Any] | None:
    """What makes `thing` what it is; None where nobody can look into it."""
    if inspect.isfunction(thing):
        held = [_content(cell) for cell in thing.__closure__ or ()]
        code = [_code(thing.__code__), [one for one in held if callable(one)]]
        return [*code, thing.__defaults__, thing.__kwdefaults__, _own(thing)]
    if isinstance(thing, staticmethod | classmethod):
        return [thing.__func__]
    if isinstance(thing, property):
        return [thing.fget, thing.fset, thing.fdel]
    if inspect.isclass(thing):
        return [[base.__qualname__ for base in thing.__mro__], _own(thing)]
    return [_own(thing)] if hasattr(thing, "__dict__") else None


def _own(thing: Any) -> dict[str, Any]:
    return {name: one for name, one in vars(thing).items() if name not in _NOT_ITS_OWN}


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty still
        return None


def _code(code: CodeType) -> list[Any]:
    """Its flags, its names, and what it does, step by step; not where it stands.

    How a method is called depends on the imports that stand in the same file or cell: the steps of
    both ways are brought to one form.
    """
    names = [code.co_varnames, code.co_freevars, code.co_cellvars]
    kept = [one for one in dis.get_instructions(code) if one.opname not in _CALLING]
    offsets = [one.offset for one in kept]
    steps = []
    for one in kept:
        told = one.argval
        if one.opcode in _JUMPS:
            told = bisect_left(offsets, told)
        steps.append(
            (
                _ONE_FORM.get(one.opname, one.opname),
                _code(told) if isinstance(told, CodeType) else told,
            )
        )
    return [code.co_flags & ~_FUTURE, names, steps]
