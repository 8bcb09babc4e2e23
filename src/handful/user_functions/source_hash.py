"""What a function is made of, from the syntax tree alone: nothing is imported or run.

A function's hash covers its own source and, transitively, everything at module level that it
names: helpers, classes, constants, decorators, imports, and what it takes from sibling modules of
the experiment's directory. Comments, formatting and docstrings do not count. Module-level
statements that bind no name (`torch.set_num_threads(1)`) count for every function. Every form of
import is followed: relative ones, packages with their `__init__`, those below `try` and `if`,
`import_module` and `__import__` with a literal name.
What cannot be followed within a module (a star import from a sibling, `globals()`, `exec`) makes
the whole module count; an import whose name is made at run time, and a change of `sys.path`, are
told (`not_followed`). Other libraries count by the import statement; data files of the experiment
do not count.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handful.errors import Fault, FunctionsError
from handful.user_functions.load import FILE, MENUS, missing_file

_OPAQUE = {"globals", "exec", "eval", "vars", "locals"}
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def function_hashes(directory: Path) -> dict[str, str]:
    """Each of the five that is defined → sha256 (hex) of all that it is made of.

    Raises `FunctionsError` when functions.py or a sibling is absent or has a syntax error.
    """
    reader = Reader(directory)
    module = reader.module(FILE.removesuffix(".py"))
    if module is None:
        raise FunctionsError([missing_file(directory)])
    return {
        menu.name: _hash_source_parts(reader.parts_of("functions", menu.name))
        for menu in MENUS
        if reader.defines("functions", menu.name)
    }


def not_followed(directory: Path) -> list[str]:
    """`file:line: what` of each import that the five reach and that no reading can follow."""
    reader = Reader(directory)
    for menu in MENUS:
        if reader.defines("functions", menu.name):
            reader.parts_of("functions", menu.name)
    return sorted(reader.not_followed)


def list_defined_functions(directory: Path) -> frozenset[str]:
    """Which of the five are defined."""
    return frozenset(function_hashes(directory))


@dataclass(frozen=True)
class Module:
    """A module of the experiment's own, read and not run."""

    tree: ast.Module
    names: dict[str, list[ast.stmt]]
    """A module-level name → the statements that bind it."""
    common: list[ast.stmt]
    """Statements that count for every function."""
    opaque: bool
    importers: frozenset[str] = frozenset()
    """Names that stand for import_module in it."""
    tried: dict[str, list[ast.stmt]] = field(default_factory=dict)
    """A name of the experiment's own that nothing but imports below `try` or `if` binds, which
    count for every function → those statements."""

    def binding(self, name: str) -> list[ast.stmt]:
        """The statements that bind `name`; [] if none does."""
        return self.names.get(name) or self.tried.get(name, [])


class Reader:
    """Follows names through the experiment's modules, each parsed once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._modules: dict[str, Module | None] = {}
        self.not_followed: set[str] = set()

    def module(self, name: str) -> Module | None:
        """The module of that dotted name in the directory; None if it is none of its own."""
        if name not in self._modules:
            found = self._place(name)
            self._modules[name] = _parse_source_module(found, self.is_own) if found else None
        return self._modules[name]

    def imported(self, name: str) -> list[Module]:
        """A module and all of the experiment's own that it imports, they too, used or not."""
        seen: dict[str, Module] = {}
        todo = [name]
        while todo:
            name = todo.pop()
            module = None if name in seen else self.module(name)
            if module is None:
                continue
            seen[name] = module
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Import):
                    todo += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    source = self.source_of(name, node)
                    todo += [source, *(f"{source}.{a.name}".lstrip(".") for a in node.names)]
        return list(seen.values())

    def _place(self, name: str) -> Path | None:
        path = self._directory.joinpath(*name.split("."))
        # As Python looks for it: a package goes before a module of its name.
        places = [path / "__init__.py", *([path.with_suffix(".py")] if name else [])]
        return next((place for place in places if place.is_file()), None)

    def is_own(self, name: str) -> bool:
        """Does a module, or a folder of modules, of the directory go by that name?"""
        return self._place(name) is not None or any((self._directory / name).glob("*.py"))

    def defines(self, module: str, name: str) -> bool:
        """Is `name` bound in a module, be it by `from own import *`?"""
        return self._defines(module, name, set())

    def _defines(self, module_name: str, name: str, asked: set[str]) -> bool:
        module = self.module(module_name)
        if module is None or module_name in asked:
            return False
        if module.binding(name):
            return True
        asked.add(module_name)
        stars = (
            self.source_of(module_name, node)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        )
        return any(self._defines(source, name, asked) for source in stars)

    def parts_of(self, module: str, name: str) -> list[str]:
        """The sources that `name` of `module` is made of, in a stable order."""
        seen: dict[tuple[str, str], list[str]] = {}
        self._collect(module, name, seen)
        return [part for key in sorted(seen) for part in [":".join(key), *seen[key]]]

    def _collect(self, module_name: str, name: str, seen: dict[tuple[str, str], list[str]]) -> None:
        module = self.module(module_name)
        if module is None or (module_name, name) in seen:
            return
        made_when_asked = name not in module.names and "__getattr__" in module.names
        if name == "*" or module.opaque or (name and made_when_asked):
            statements = [s for found in module.names.values() for s in found] + module.common
        else:
            statements = module.names.get(name, []) + module.common
        seen[module_name, name] = [_normalize_statement(statement) for statement in statements]
        for statement in statements:
            for used in sorted(_names_in(statement)):
                if used in module.names:
                    self._collect(module_name, used, seen)
            self._follow(module_name, statement, seen)

    def _follow(
        self, module_name: str, statement: ast.stmt, seen: dict[tuple[str, str], list[str]]
    ) -> None:
        """Go on into sibling modules that `statement` imports, wherever in it."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._collect(alias.name, "*", seen)
                    self._collect_packages(alias.name, "*", seen)
            elif isinstance(node, ast.ImportFrom):
                source = self.source_of(module_name, node)
                self._collect_packages(source, "", seen)
                for alias in node.names:
                    self._collect(source, alias.name, seen)
                    self._collect(f"{source}.{alias.name}".lstrip("."), "*", seen)
            elif isinstance(node, ast.Call) and self._is_import(module_name, node):
                name = self._resolve_import_call(module_name, node)
                if name is None:
                    self._tell(module_name, node)
                else:
                    self._collect(name, "*", seen)
                    self._collect_packages(name, "*", seen)
            elif _adds_a_place(node):
                self._tell(module_name, node)

    def _collect_packages(
        self, name: str, what: str, seen: dict[tuple[str, str], list[str]]
    ) -> None:
        """Python runs the packages that a module lies in; `what` of them, "" for what binds no
        name. An empty one counts for nothing."""
        parts = name.split(".")
        for end in range(1, len(parts)):
            package = self.module(".".join(parts[:end]))
            if package is not None and (package.common or (what and package.names)):
                self._collect(".".join(parts[:end]), what, seen)

    def _is_import(self, module_name: str, call: ast.Call) -> bool:
        module, name = self.module(module_name), _find_callee_name(call)
        own = module.importers if module else frozenset()
        return name in _IMPORTS | _FROM_PLACES | own

    def _tell(self, module_name: str, node: ast.AST) -> None:
        path = self._place(module_name)
        file = path.relative_to(self._directory) if path else FILE
        self.not_followed.add(f"{file}:{getattr(node, 'lineno', 1)}: {ast.unparse(node)}")

    def source_of(self, module_name: str, node: ast.ImportFrom) -> str:
        """The module that `from … import` in a module takes from, by its dotted name."""
        parts = [self._package(module_name, node.level), node.module or ""]
        return ".".join(part for part in parts if part)

    def _package(self, module_name: str, level: int) -> str:
        """What `level` dots stand for in a module."""
        if not level:
            return ""
        place = self._place(module_name)
        is_package = place is not None and place.name == "__init__.py"
        parts = module_name.split(".")
        return ".".join(parts[: len(parts) - level + is_package])

    def _resolve_import_call(self, module_name: str, call: ast.Call) -> str | None:
        """The module that `import_module(…)` names by a literal; None if it is made at run time."""
        by_place = _find_callee_name(call) in _FROM_PLACES
        names = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "name")]
        name = _string_literal_value(names[0]) if names and not by_place else None
        name = name.partition(":")[0] if name else None  # as resolve_name has it
        if name is None or not name.startswith("."):
            return name
        level = len(name) - len(name.lstrip("."))
        given = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "package")]
        told = _string_literal_value(given[0]) if given else None
        if given and told is None and ast.unparse(given[0]) not in _OWN_PACKAGE:
            return None
        # `package` names the package itself, so one dot is that package.
        base = told.split(".") if told else self._package(module_name, 1).split(".")
        return ".".join([*base[: len(base) - level + 1], name.lstrip(".")]).strip(".")


_OWN_PACKAGE = {"__package__", "__name__"}
_IMPORTS = {"import_module", "__import__", "find_spec", "resolve_name"}
_FROM_PLACES = {"spec_from_file_location", "SourceFileLoader", "run_path", "run_module"}
_ADDING = {"insert", "append", "extend"}
_OWN_PLACE = re.compile(
    r"(str\()?(pathlib\.)?Path\(__file__\)(\.(resolve|absolute)\(\))?\.parent\)?"
    r"|(os\.path\.|path\.)?dirname\((?:(os\.path\.|path\.)?(abspath|realpath)\()?__file__\)+"
)
"""The experiment's directory itself, whose modules are followed."""


def _find_callee_name(call: ast.Call) -> str:
    """The last part of the name of what is called; empty if it has none."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _adds_a_place(node: ast.AST) -> bool:
    """Does it let Python look for modules elsewhere?"""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr == "addsitedir":
        return True
    adds = node.func.attr in _ADDING and ast.unparse(node.func.value) == "sys.path"
    return adds and not (node.args and _OWN_PLACE.fullmatch(ast.unparse(node.args[-1])))


def _string_literal_value(node: ast.expr) -> str | None:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(node.value) if is_text else None  # type: ignore[attr-defined]


def _parse_source_module(path: Path, is_own: Callable[[str], bool]) -> Module:
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
    tried: dict[str, list[ast.stmt]] = {}
    common: list[ast.stmt] = []
    for statement in tree.body:
        bound = _list_statement_bindings(statement)
        if not isinstance(statement, _SIMPLE):
            own = {name for name, root in _list_statement_imports(statement) if is_own(root)}
            if bound:
                bound |= own
            else:  # it counts for all
                for name in own:
                    tried.setdefault(name, []).append(statement)
        for name in bound:
            names.setdefault(name, []).append(statement)
        if not bound and not _is_docstring(statement):
            common.append(statement)
    opaque = bool(_names_in(tree) & _OPAQUE) or any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    )
    return Module(tree, names, common, opaque, frozenset(_importers(tree)), tried)


_SIMPLE = _FUNCTIONS | ast.ClassDef | ast.Import | ast.ImportFrom


def _list_statement_imports(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """Each name that an import somewhere in `statement` binds, and the first part of its module,
    "." for a relative one."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                module = getattr(node, "module", None) or alias.name
                root = "." if getattr(node, "level", 0) else module.split(".")[0]
                yield alias.asname or alias.name.split(".")[0], root


def _importers(tree: ast.Module) -> Iterator[str]:
    """The names that import_module is given in a module, beside its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            yield from (a.asname for a in node.names if a.asname and a.name == "import_module")
        elif isinstance(node, ast.Assign):
            last = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if last in ("import_module", "__import__"):
                yield from (found.id for found in node.targets if isinstance(found, ast.Name))


def _list_statement_bindings(statement: ast.stmt) -> set[str]:
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


def _normalize_statement(statement: ast.stmt) -> str:
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


def _hash_source_parts(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
