"""What a name that is called stands for: one function of the experiment's own, or nobody knows."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handful.user_functions.load import FILE
from handful.user_functions.settings_usage.binding import (
    Binding,
    Function,
    attributes_set,
    bindings,
)
from handful.user_functions.source_hash import Reader

_PASS_ON: Mapping[str, frozenset[str]] = {
    "functools": frozenset({"cache", "lru_cache"}),
    "handful": frozenset({"batched"}),
    "torch": frozenset({"no_grad", "inference_mode", "enable_grad"}),
    "contextlib": frozenset({"contextmanager"}),
    "dataclasses": frozenset({"dataclass"}),
    "typing": frozenset({"no_type_check", "final", "override"}),
    "tenacity": frozenset({"retry"}),
}
"""Decorators that call what they are given with the arguments that came, and read none."""
Bindings = Mapping[str, list[Binding]]


@dataclass(frozen=True)
class Target:
    """A function that a call ends in."""

    module: str
    node: Function
    bound_to: int = 0
    """Parameters before those of the call: `self` of a class that is called."""


class Resolver:
    """Names to functions, through the experiment's modules."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._tables: dict[str, Bindings] = {}
        self._set: frozenset[str] | None = None
        self._resolving: set[tuple[str, str]] = set()

    def table(self, module: str) -> Bindings:
        """The bindings at the level of a module."""
        if module not in self._tables:
            there = self.reader.module(module)
            self._tables[module] = bindings(there.tree, within=False) if there else {}
        return self._tables[module]

    def functions(self, module: str, name: str) -> list[Target]:
        """All the functions that `name` of a module may stand for; [] if it may be else."""
        which, table = (module, name), self.table(module)
        if "*" in table or which in self._resolving or self._is_set(name):
            return []
        self._resolving.add(which)
        each = [self._of_binding(module, one) for one in table.get(name, [])]
        self._resolving.discard(which)
        return [target for found in each for target in found] if all(each) else []

    def _is_set(self, name: str) -> bool:
        """Does anybody give a module, or a class, another thing of that name?"""
        if self._set is None:
            everywhere = self.reader.imported(FILE.removesuffix(".py"))
            self._set = frozenset().union(*(attributes_set(one.tree) for one in everywhere))
        return name in self._set

    def _of_binding(self, module: str, binding: Binding) -> list[Target]:
        node = binding.node
        if isinstance(node, ast.ImportFrom) and binding.alias:
            return self.functions(self.reader.source_of(module, node), binding.alias.name)
        if isinstance(node, Function):
            target = Target(module, node)
        elif isinstance(node, ast.ClassDef) and (made := self._find_class_constructor(node)):
            target = Target(module, made, bound_to=1)
        else:
            return []
        decorators = {*node.decorator_list, *target.node.decorator_list}
        return [target] if all(self.passes_on(module, one, {}) for one in decorators) else []

    def _find_class_constructor(self, node: ast.ClassDef) -> Function | None:
        """The `__init__` that calling a plain class ends in."""
        makers = [
            one
            for name, found in bindings(node, within=True).items()
            if name in ("__init__", "__new__", "__call__", "__class_getitem__")
            for one in found
        ]
        plain = not node.bases and not node.keywords and not self._is_set("__init__")
        made = [one.node for one in makers if isinstance(one.node, Function)]
        alone = len(makers) == 1 and len(made) == 1 and made[0] in node.body
        return made[0] if plain and alone and made[0].name == "__init__" else None

    def passes_on(self, module: str, decorator: ast.expr, local: Bindings) -> bool:
        """Does a decorator hand on what it is called with, and read nothing of it?"""
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name, *rest = ast.unparse(called).split(".")
        found = self.table(module).get(name, [])
        if name in local or len(found) != 1 or "*" in self.table(module):
            return False
        node, alias = found[0].node, found[0].alias
        if isinstance(node, ast.Import) and alias:
            dotted = [*(alias.name.split(".") if alias.asname else [name]), *rest]
        elif isinstance(node, ast.ImportFrom) and alias and not node.level:
            dotted = [*(node.module or "").split("."), alias.name, *rest]
        else:
            return False
        if isinstance(decorator, ast.Call) and not self._are_given(module, decorator, local):
            return False
        own = self.reader.is_own(dotted[0])
        return not own and dotted[-1] in _PASS_ON.get(dotted[0], frozenset())

    def _are_given(self, module: str, decorator: ast.Call, local: Bindings) -> bool:
        """Is it configured by what reads nothing: plain values, and names of libraries?"""
        for node in ast.walk(decorator):
            if isinstance(node, ast.Lambda):
                return False
            if isinstance(node, ast.Name) and node.id != ast.unparse(decorator.func).split(".")[0]:
                found = self.table(module).get(node.id, [])
                imports = [one.node for one in found if self._is_of_library(one)]
                known = self.is_builtin(node.id, module, local)
                if not known and (not found or len(imports) < len(found)):
                    return False
        return True

    def _is_of_library(self, binding: Binding) -> bool:
        node, alias = binding.node, binding.alias
        if isinstance(node, ast.ImportFrom):
            return not node.level and not self.reader.is_own((node.module or "").split(".")[0])
        if isinstance(node, ast.Import) and alias:
            return not self.reader.is_own(alias.name.split(".")[0])
        return False

    def module_called(self, module: str, parts: Sequence[str], here: list[Binding] | None) -> str:
        """The experiment's module that `a.b` stands for; empty if it is none, or may be else.

        `here`: what binds its first part in the function that calls; None if nothing does."""
        found = self.table(module).get(parts[0], []) if here is None else here
        if not found or "*" in self.table(module) or any(map(self._is_set, parts[1:])):
            return ""
        named = {self._module_of(module, one, parts) for one in found}
        (name,) = named if len(named) == 1 else ("",)
        return name

    def _module_of(self, module: str, binding: Binding, parts: Sequence[str]) -> str:
        node, alias = binding.node, binding.alias
        if isinstance(node, ast.Import) and alias:
            name = ".".join([*([alias.name] if alias.asname else parts[:1]), *parts[1:]])
        elif isinstance(node, ast.ImportFrom) and alias:
            source = self.reader.source_of(module, node)
            name = ".".join([part for part in (source, alias.name) if part] + list(parts[1:]))
        else:
            return ""
        return name if self.reader.module(name) and not self._is_hidden(name) else ""

    def _is_hidden(self, name: str) -> bool:
        """Does a package bind something else by the name of its module?"""
        package, _, last = name.rpartition(".")
        if self._is_set(last) or (package and self._is_hidden(package)):
            return True
        for one in self.table(package).get(last, []) if package else []:
            is_from = isinstance(one.node, ast.ImportFrom)
            if not is_from or self.reader.source_of(package, one.node) != package:  # type: ignore[arg-type]
                return True
        return bool(package) and "*" in self.table(package)

    def is_builtin(self, name: str, module: str, local: Bindings) -> bool:
        """Is it Python's own, and bound by nobody here?"""
        table = self.table(module)
        free = name not in local and name not in table and "*" not in table
        return free and hasattr(builtins, name)
