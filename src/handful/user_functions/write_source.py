"""functions.py from functions that live elsewhere, such as in the cells of a notebook.

Their sources are taken as `inspect` gives them, and with them whatever of their module they name:
helpers and classes of the same module by their sources, modules and what belongs to other modules
by an import, plain values as they are now. What cannot be told by source is refused in words:
lambdas, closures, objects that were made at run time, and whatever is otherwise by now than its
source makes it.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import importlib
import inspect
import linecache
import math
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from handful.errors import Fault, FunctionsError
from handful.user_functions.compare_source import CannotBeImported, find_differences
from handful.user_functions.load import MENUS

_HEAD = '"""The functions of this experiment, written by handful.Experiment.create."""'
_PLAIN = (str, bytes, int, float, bool, type(None))


def format_functions(functions: Iterable[Callable[..., Any]]) -> str:
    """The source of a functions.py that defines `functions`, each by its own name.

    It is run once, to be compared with what is here. `FunctionsError` with all faults together: a
    name that is none of the five, a lambda, a closure, a function or a value without a source, one
    that its source makes otherwise.
    """
    collected = _Collected()
    known = {menu.name for menu in MENUS}
    for function in functions:
        name = getattr(function, "__name__", repr(function))
        if name not in known:
            collected.refuse(name, "is none of the functions that handful calls", sorted(known))
        else:
            collected.take(name, function)
    if not collected.faults:
        collected.compare()
    if collected.faults:
        raise FunctionsError(collected.faults)
    return collected.text()


@dataclass
class _Collected:
    """Sources by name, in the order in which they have to stand."""

    imports: dict[str, None] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)
    _mutable: dict[int, str] = field(default_factory=dict)
    _here: dict[str, Any] = field(default_factory=dict)
    """What `sources` are of."""
    _needed: dict[str, list[str]] = field(default_factory=dict)
    """A name of `sources` → what its definition itself reads: bases, decorators, defaults."""
    _builtins: dict[str, str] = field(default_factory=dict)
    """A builtin that a source means → the name of that source."""

    def text(self) -> str:
        imports = sorted(self.imports, key=lambda line: ("__future__" not in line, line))
        parts = [_HEAD, "\n".join(imports), "\n".join(self.values.values())]
        sources = [self.sources[name] for name in self._in_order()]
        return "\n\n".join(part for part in [*parts, *sources] if part) + "\n"

    def _in_order(self) -> list[str]:
        ordered: dict[str, None] = {}
        begun: set[str] = set()

        def place(name: str) -> None:
            if name in self.sources and name not in begun:
                begun.add(name)
                for needed in self._needed[name]:
                    place(needed)
                ordered[name] = None

        for name in self.sources:
            place(name)
        return list(ordered)

    def compare(self) -> None:
        """Faults for what the text would make otherwise than it is here."""
        for name, user in self._builtins.items():
            if name in self._seen:
                self.refuse(name, f"is Python's own to {user}, and your own elsewhere", "rename it")
        try:
            drifted = find_differences(self.text(), self._here)
        except CannotBeImported as error:
            self.faults.append(
                Fault("functions", f"cannot be imported as written: {error}", "see its own words")
            )
            return
        for name in drifted:
            self.refuse(
                name,
                "is otherwise by now than its source makes it",
                "run its cell again (a module: restart); what is put on or set later (a wrapper, "
                "an attribute, a default's value) belongs into its definition",
            )

    def refuse(self, name: str, what: str, remedy: list[str] | str) -> None:
        told = remedy if isinstance(remedy, str) else f"known: {', '.join(remedy)}"
        self.faults.append(Fault(f"functions, {name}", what, told))

    def take(self, name: str, thing: Any) -> None:
        """`thing`, which goes by `name` where it is used, and all that it names."""
        if self._seen.setdefault(name, id(thing)) != id(thing):
            self.refuse(name, "means two things in two modules", "rename one of them")
            return
        if name in self.sources or name in self.values:
            return
        if isinstance(thing, ModuleType) and not _is_installed(thing):
            remedy = f"write from {thing.__name__} import …: what is named is taken with it"
            self.refuse(name, "is a module of your own, which would be missing", remedy)
        elif isinstance(thing, ModuleType):
            self._import(name, thing.__name__, "")
        elif _is_plain(thing):
            self._value(name, thing)
        elif _has_own_source(thing):
            self._source(name, thing)
        else:
            self._imported(name, thing)

    def _value(self, name: str, thing: Any) -> None:
        if isinstance(thing, list | dict | set):
            other = self._mutable.setdefault(id(thing), name)
            if other != name:
                self.refuse(name, f"is one object with {other}, and would be two", "use one name")
        self.values[name] = f"{name} = {thing!r}"

    def _source(self, name: str, thing: Any) -> None:
        bare = inspect.unwrap(thing)
        if inspect.isfunction(bare) and bare.__code__.co_name == "<lambda>":
            self.refuse(name, "is a lambda", "write it with def")
            return
        if getattr(bare, "__closure__", None) and "__class__" not in bare.__code__.co_freevars:
            held = ", ".join(bare.__code__.co_freevars)
            self.refuse(name, f"is a closure over {held}", "define it at the top level")
            return
        if "." in bare.__qualname__ or bare.__name__ != name:
            what = f"is {bare.__qualname__} of another place, under another name"
            self.refuse(name, what, "define it at the top level, by the name that is used")
            return
        try:
            source = textwrap.dedent(_source_of(bare))
            names, needed = _names(source)
        except (OSError, TypeError, SyntaxError):
            self.refuse(name, "has no source to be read", "define it in a file or a cell")
            return
        self.sources[name] = ""  # its place; whatever it names stands before it
        self._here[name], self._needed[name] = thing, needed
        scope = _scope(bare)
        for used in names:
            if used not in scope and hasattr(builtins, used):
                self._builtins.setdefault(used, name)
            if used != name and used in scope:
                self.take(used, scope[used])
                if isinstance(scope[used], ModuleType):
                    self._import_submodules(used, scope[used], source)
        del self.sources[name]
        self.sources[name] = source.rstrip() + "\n"
        if _annotations_are_texts(bare):
            self.imports["from __future__ import annotations"] = None

    def _imported(self, name: str, thing: Any) -> None:
        """What belongs to another module, by the names it says of itself."""
        module = getattr(thing, "__module__", None)
        qualified = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
        if isinstance(module, str) and isinstance(qualified, str) and "." not in qualified:
            for place in _public_places(module):
                if getattr(importlib.import_module(place), qualified, None) is thing:
                    self._import(name, place, qualified)
                    return
        self.refuse(
            name,
            f"is {type(thing).__name__!r} made at run time, which no source tells",
            "make it inside a function (functools.cache keeps it)",
        )

    def _import_submodules(self, name: str, module: ModuleType, source: str) -> None:
        """`import xml` alone would not do for `xml.etree.ElementTree`."""
        for chain in _chains(source, name):
            dotted, found = module.__name__, ""
            for attribute in chain:
                dotted = f"{dotted}.{attribute}"
                found = dotted if dotted in sys.modules else found
            if found and _is_installed(module):
                self.imports[f"import {found}"] = None

    def _import(self, name: str, module: str, thing: str) -> None:
        if not thing:
            plain = name == module
            self.imports[f"import {module}" + ("" if plain else f" as {name}")] = None
            return
        self.imports[f"from {module} import {thing}" + ("" if thing == name else f" as {name}")] = (
            None
        )


def _is_plain(thing: Any) -> bool:
    """A value whose repr is its source."""
    if type(thing) in _PLAIN:
        return not isinstance(thing, float) or math.isfinite(thing)
    if type(thing) in (list, tuple, set, frozenset):
        return all(_is_plain(one) for one in thing)
    return type(thing) is dict and all(_is_plain(one) for pair in thing.items() for one in pair)


def _has_own_source(thing: Any) -> bool:
    """A function or a class of a notebook or a script: nothing that could be imported elsewhere."""
    bare = inspect.unwrap(thing) if callable(thing) else thing
    if not (inspect.isfunction(bare) or inspect.isclass(bare)):
        return False
    module = inspect.getmodule(bare)
    return module is None or not _is_installed(module)


def _is_installed(module: ModuleType) -> bool:
    """Is it of Python or of a package, not of a notebook or a file beside it?"""
    top = module.__name__.partition(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names or top in _installed():
        return True
    file = getattr(module, "__file__", None)
    return file is None or bool({"site-packages", "dist-packages"} & set(Path(file).parts))


@functools.cache
def _installed() -> frozenset[str]:
    return frozenset({"handful", *packages_distributions()})


def _scope(thing: Any) -> Mapping[str, Any]:
    """The names that the source of `thing` may mean."""
    if inspect.isfunction(thing):
        return thing.__globals__
    module = inspect.getmodule(thing)
    return vars(module) if module else {}


def _source_of(thing: Any) -> str:
    """`inspect.getsource`, and of a class of a notebook's cell, too; OSError if there is none."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        if not inspect.isclass(thing):
            raise
    files = [one.__code__.co_filename for one in vars(thing).values() if inspect.isfunction(one)]
    for file in [*files, *reversed(list(linecache.cache))]:
        text = "".join(linecache.getlines(file))
        if f"class {thing.__name__}" in text and (found := _class_in(text, thing.__name__)):
            return found
    raise OSError


def _class_in(text: str, name: str) -> str | None:
    """The source of the last class of that name, with its decorators."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return None
    classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    if not classes:
        return None
    last = classes[-1]
    first = min([last.lineno, *(one.lineno for one in last.decorator_list)])
    return "".join(text.splitlines(keepends=True)[first - 1 : last.end_lineno])


def _chains(source: str, name: str) -> list[list[str]]:
    """`["etree", "ElementTree"]` for each `name.etree.ElementTree` of a source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name) and node.id == name:
            found.append(chain)
    return found


def _names(source: str) -> tuple[list[str], list[str]]:
    """The module's names that a source reads, and those of them that its definition itself needs.

    Each once, in a stable order. What functions read is asked for when they are called.
    """
    tables = [(symtable.symtable(source, "functions.py", "exec"), True)]
    read: dict[str, None] = {}
    needed: dict[str, None] = {}
    while tables:
        table, at_once = tables.pop(0)
        outermost = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (outermost or symbol.is_global()):
                read[symbol.get_name()] = None
                if at_once:
                    needed[symbol.get_name()] = None
        tables += [(one, at_once and one.get_type() == "class") for one in table.get_children()]
    return list(read), list(needed)


def _public_places(module: str) -> list[str]:
    """`datasets`, `datasets.features`, …: the shortest path that has it is the public one."""
    parts = module.split(".")
    return [".".join(parts[: number + 1]) for number in range(len(parts))]


def _annotations_are_texts(thing: Any) -> bool:
    code = getattr(thing, "__code__", None)
    return bool(code and code.co_flags & __future__.annotations.compiler_flag)
