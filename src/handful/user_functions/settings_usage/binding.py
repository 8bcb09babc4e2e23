"""Every place where a name is bound: what it stands for is known only if there is one kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Binding:
    """A place that binds a name."""

    node: ast.AST
    """A def, a class, an import, or anything else that does."""
    alias: ast.alias | None = None
    """Which name of an import."""
    owner: ast.AST | None = None
    """The function, class or lambda in whose scope it is; None at the level that was asked for."""


def bindings(node: ast.AST, *, within: bool) -> Mapping[str, list[Binding]]:
    """Name → the places that bind it in `node`, which is a module or a function.

    `within`: also those in the functions and classes in it, where another scope begins. Without,
    what a `global` in one of them binds counts all the same.
    """
    found: dict[str, list[Binding]] = {}
    for name, binding in _walk_bindings(node, within=within, owner=node if within else None):
        found.setdefault(name, []).append(binding)
    return found


def _walk_bindings(
    node: ast.AST, *, within: bool, owner: ast.AST | None
) -> Iterator[tuple[str, Binding]]:
    for child in ast.iter_child_nodes(node):
        yield from (
            (name, Binding(child, alias, owner)) for name, alias in _list_node_bindings(child)
        )
        scope = isinstance(child, Function | ast.ClassDef | ast.Lambda)
        if scope and not within:
            declared = (one for one in ast.walk(child) if isinstance(one, ast.Global))
            yield from ((name, Binding(one)) for one in declared for name in one.names)
        else:
            yield from _walk_bindings(child, within=within, owner=child if scope else owner)


def _list_node_bindings(node: ast.AST) -> Iterator[tuple[str, ast.alias | None]]:
    """The names that `node` itself binds; "*" for those that nobody names."""
    if isinstance(node, Function | ast.ClassDef):
        yield node.name, None
    elif isinstance(node, ast.Import):
        yield from ((alias.asname or alias.name.split(".")[0], alias) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from ((alias.asname or alias.name, alias) for alias in node.names)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, None
    elif isinstance(node, ast.arg):
        yield node.arg, None
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name, None
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, None
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from ((name, None) for name in node.names)


def attributes_set(tree: ast.AST) -> frozenset[str]:
    """The names of attributes that are given to what may be a module or a class, as in `module.name
    = …`, and the last part of every text that `setattr` or a `patch` is given."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            if getattr(node.value, "id", "") not in ("self", "cls"):
                found.add(node.attr)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")
            if "patch" in called or called[-1] == "setattr":
                texts = (one.value for one in node.args if isinstance(one, ast.Constant))
                found |= {str(text).split(".")[-1] for text in texts}
    return frozenset(found)
