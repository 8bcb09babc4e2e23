"""What a function is made of, from the syntax tree alone: nothing is imported or run.

A function's hash covers its own source and, transitively, everything at module level that it
names: helpers, classes, constants, decorators, imports, and what it takes from sibling modules of
the experiment's directory. Comments, formatting and docstrings do not count. Module-level
statements that bind no name (`torch.set_num_threads(1)`) count for every function. What cannot be
followed (a star import from a sibling, `globals()`, `exec`) makes the whole module count. Other
libraries count by the import statement; data files of the experiment do not count.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path

from handful.errors import Fault, FunctionsError
from handful.functions import FILE, MENUS, missing_file

_OPAQUE = {"globals", "exec", "eval", "vars", "locals"}
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def function_hashes(directory: Path) -> dict[str, str]:
    """Each of the five that is defined → sha256 (hex) of all that it is made of.

    Raises `FunctionsError` when functions.py or a sibling is absent or has a syntax error.
    """
    reader = _Reader(directory)
    module = reader.module(FILE.removesuffix(".py"))
    if module is None:
        raise FunctionsError([missing_file(directory)])
    return {
        menu.name: _sha256(reader.parts_of("functions", menu.name))
        for menu in MENUS
        if menu.name in module.names
    }


def defined(directory: Path) -> frozenset[str]:
    """Which of the five are defined."""
    return frozenset(function_hashes(directory))


@dataclass(frozen=True)
class _Module:
    names: dict[str, list[ast.stmt]]
    """A module-level name → the statements that bind it."""
    common: list[ast.stmt]
    """Statements that count for every function."""
    opaque: bool


class _Reader:
    """Follows names through the experiment's modules, each parsed once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._modules: dict[str, _Module | None] = {}

    def module(self, name: str) -> _Module | None:
        """The module of that dotted name in the directory; None if it is none of its own."""
        if name not in self._modules:
            path = self._directory.joinpath(*name.split("."))
            places = (path.with_suffix(".py"), path / "__init__.py")
            found = next((place for place in places if place.is_file()), None)
            self._modules[name] = _parsed(found) if found else None
        return self._modules[name]

    def parts_of(self, module: str, name: str) -> list[str]:
        """The sources that `name` of `module` is made of, in a stable order."""
        seen: dict[tuple[str, str], list[str]] = {}
        self._collect(module, name, seen)
        return [part for key in sorted(seen) for part in [":".join(key), *seen[key]]]

    def _collect(self, module_name: str, name: str, seen: dict[tuple[str, str], list[str]]) -> None:
        module = self.module(module_name)
        if module is None or (module_name, name) in seen:
            return
        if name == "*" or module.opaque:
            statements = [s for found in module.names.values() for s in found] + module.common
        else:
            statements = module.names.get(name, []) + module.common
        seen[module_name, name] = [_normal(statement) for statement in statements]
        for statement in statements:
            for used in sorted(_names_in(statement)):
                if used in module.names:
                    self._collect(module_name, used, seen)
            self._follow(statement, seen)

    def _follow(self, statement: ast.stmt, seen: dict[tuple[str, str], list[str]]) -> None:
        """Go on into sibling modules that `statement` imports, wherever in it."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._collect(alias.name, "*", seen)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self._collect(node.module, alias.name, seen)
                    self._collect(f"{node.module}.{alias.name}", "*", seen)


def _parsed(path: Path) -> _Module:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        text = (error.text or "").strip()
        remedy = f"in the line `{text}`" if text else ""
        fault = Fault(f"{path.name}:{error.lineno}", f"syntax error: {error.msg}", remedy)
        raise FunctionsError([fault]) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise FunctionsError([Fault(str(path), f"cannot be read: {error}")]) from error
    names: dict[str, list[ast.stmt]] = {}
    common: list[ast.stmt] = []
    for statement in tree.body:
        bound = _bound_by(statement)
        for name in bound:
            names.setdefault(name, []).append(statement)
        if not bound and not _is_docstring(statement):
            common.append(statement)
    opaque = bool(_names_in(tree) & _OPAQUE) or any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    )
    return _Module(names, common, opaque)


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names that a module-level statement binds."""
    if isinstance(statement, _FUNCTIONS | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {node.name for node in ast.walk(statement) if isinstance(node, _FUNCTIONS | ast.ClassDef)}


def _names_in(node: ast.AST) -> set[str]:
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}


def _normal(statement: ast.stmt) -> str:
    """The statement without comments, formatting and docstrings."""
    tree = ast.parse(ast.unparse(statement))
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS | ast.ClassDef) and _is_docstring(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _sha256(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
