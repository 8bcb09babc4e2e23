"""Which settings the five functions read, from the syntax tree alone: nothing is run.

What a function is given as `settings` is followed through names, attributes, `getattr` and
subscripts with a literal name, and into the experiment's own functions that it is passed to. What
goes where reading cannot follow it (another library, a container, an attribute of an object, the
value that one of the five returns) counts whole: `settings.user` all keys of `[user]`, `settings`
itself all keys there are. A conservative analysis, flow-insensitive as that of Andersen (1994): a
name stands for all that it is ever bound to, so that no read is missed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handful.functions import FILE
from handful.settings import EVERYTHING, SECTIONS, Usage, keys_of
from handful.settings.types import FrozenMap
from handful.sources import Module, Reader, names_in

PARAMETER = "settings"
_USER, _VALUES = "user", "values"
_OPAQUE = frozenset({"globals", "exec", "eval", "vars", "locals"})
_HARMLESS = frozenset({"isinstance", "type", "id", "callable"})
_SECTIONS = frozenset({*SECTIONS, _USER})
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Path = tuple[str, ...]
"""() is `settings`, ("user",) is `settings.user`, ("user", "values") its mapping."""
_Paths = frozenset[_Path]
_NONE: _Paths = frozenset()


def settings_usage(directory: Path, names: Sequence[str]) -> Usage:
    """What those of the five that are named in `names` read, with all the helpers they reach.

    Raises `FunctionsError` as `sources.function_hashes` does.
    """
    reader = Reader(directory)
    root = FILE.removesuffix(".py")
    module = reader.module(root)
    found = Usage()
    for name in names:
        if module is not None and module.binding(name):
            found |= _of_one(reader, root, name)
    return found


def _of_one(reader: Reader, module: str, name: str) -> Usage:
    """Round by round, until nothing new is found: functions may call each other, and themselves."""
    analysis = _Analysis(reader)
    while True:
        before = analysis.usage, dict(analysis.returned)
        analysis.looked_at.clear()
        _look(analysis, module, name)
        if (analysis.usage, analysis.returned) == before:
            return analysis.usage


def _look(analysis: _Analysis, module: str, name: str) -> None:
    functions = analysis.resolve(module, name)
    if not functions:
        analysis.hand_on((), f"{name} in {FILE} is made by an expression")
    for where, node in functions:
        wrapper = analysis.own_decorator(where, node)
        if wrapper:
            analysis.hand_on((), f"{name} is wrapped by {wrapper}")
        parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if any(one.arg == PARAMETER for one in parameters):
            bound: dict[str, _Paths] = {PARAMETER: frozenset({()})}
            for path in analysis.function(where, node, bound):
                analysis.hand_on(path, f"{name} returns it")


@dataclass
class _Analysis:
    """The reads found so far; in a round each function is looked at once for each way it is
    called."""

    reader: Reader
    keys: set[tuple[str, str]] = field(default_factory=set)
    whole: dict[str, str] = field(default_factory=dict)
    returned: dict[object, _Paths] = field(default_factory=dict)
    looked_at: set[object] = field(default_factory=set)
    resolving: set[tuple[str, str]] = field(default_factory=set)

    @property
    def usage(self) -> Usage:
        return Usage(frozenset(self.keys), FrozenMap(self.whole))

    def hand_on(self, path: _Path, where: str) -> None:
        """`path` goes where it cannot be followed."""
        self.whole.setdefault(path[0] if path else EVERYTHING, where)

    def read(self, path: _Path, name: str, where: str) -> _Paths:
        """`name` of what `path` stands for; what that stands for in turn."""
        if not path:
            if name in _SECTIONS:
                return frozenset({(name,)})
            self.hand_on(path, f"{where} takes settings.{name}")
        elif path == (_USER,) and name == _VALUES:
            return frozenset({(_USER, _VALUES)})
        elif path[0] == _USER or name in keys_of(SECTIONS[path[0]]):
            self.keys.add((path[0], name))
        else:
            self.hand_on(path, f"{where} takes settings.{path[0]}.{name}")
        return _NONE

    def resolve(self, module: str, name: str) -> list[tuple[str, _Function]]:
        """The experiment's own functions that `name` stands for in a module; [] if it is, or may
        be, anything else."""
        there, which = self.reader.module(module), (module, name)
        if there is None or which in self.resolving:
            return []
        self.resolving.add(which)
        each = [self._bound(module, statement, name) for statement in there.binding(name)]
        self.resolving.discard(which)
        return [one for found in each for one in found] if all(each) else []

    def _bound(self, module: str, statement: ast.stmt, name: str) -> list[tuple[str, _Function]]:
        found: list[tuple[str, _Function]] = []
        for node in _own_statements(statement):
            if isinstance(node, _Function) and node.name == name:
                found.append((module, node))
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        source = self.reader.source_of(module, node)
                        inner = self.resolve(source, alias.name) if source != module else []
                        if not inner:
                            return []
                        found += inner
            elif _binds_otherwise(node, name):
                return []
        return found

    def own_decorator(self, module: str, node: _Function) -> str:
        """A decorator of the experiment's own, which may look at what it passes on."""
        there = self.reader.module(module)
        for decorator in node.decorator_list:
            for used in names_in(decorator):
                if there and self._is_own(module, there, used):
                    return f"{used} in {module}.py"
        return ""

    def _is_own(self, module: str, there: Module, name: str) -> bool:
        """Is it made in the experiment's directory, and not imported from a library?"""
        for statement in there.binding(name):
            if isinstance(statement, ast.ImportFrom):
                if self.reader.module(self.reader.source_of(module, statement)) is not None:
                    return True
            elif isinstance(statement, ast.Import):
                if any(self.reader.module(alias.name) is not None for alias in statement.names):
                    return True
            else:
                return True
        return False

    def function(self, module: str, node: _Function, bound: dict[str, _Paths]) -> _Paths:
        """Look at `node`, called with `bound`; the paths that it returns."""
        return self.scope(_Scope(self, module, node.body, dict(bound), node.name), node)

    def scope(self, scope: _Scope, node: ast.AST) -> _Paths:
        """What is known so far of what `node` returns, once it was looked at in this round."""
        key = (id(node), frozenset(scope.env.items()))
        if key not in self.looked_at:
            self.looked_at.add(key)
            self.returned[key] = self.returned.get(key, _NONE) | scope.look()
        return self.returned.get(key, _NONE)


@dataclass
class _Scope:
    """A function's body, with what its names stand for."""

    analysis: _Analysis
    module: str
    body: list[ast.stmt]
    env: dict[str, _Paths]
    name: str
    local: dict[str, _Function] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    """Names that are declared global or nonlocal."""
    returns: set[_Path] = field(default_factory=set)

    def look(self) -> _Paths:
        """Until no name stands for more; what is returned."""
        for statement in self.body:
            for node in ast.walk(statement):
                self._declare(node)
        while True:
            before = dict(self.env)
            for statement in self.body:
                self._statement(statement)
            if self.env == before:
                return frozenset(self.returns)

    def _declare(self, node: ast.AST) -> None:
        if isinstance(node, _Function):
            self.local.setdefault(node.name, node)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            self.elsewhere |= set(node.names)
        elif isinstance(node, ast.ImportFrom):
            source = self.analysis.reader.source_of(self.module, node)
            for alias in node.names:
                self.imported[alias.asname or alias.name] = (source, alias.name)

    def _statement(self, node: ast.AST) -> None:
        if isinstance(node, _Function):
            self._nested(node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._assign(node.target, node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            self.returns |= self._value(node.value)
        elif isinstance(node, ast.Expr):
            self._value(node.value)
        elif isinstance(node, ast.expr):
            self._use(node)
        else:
            for child in ast.iter_child_nodes(node):
                self._statement(child)

    def _nested(self, node: _Function) -> None:
        """A function within this one sees its names; its own parameters hide them."""
        for default in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self._use(default)
        hidden = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        env = {name: paths for name, paths in self.env.items() if name not in hidden}
        for path in self._within(node, env):
            self.analysis.hand_on(path, f"{self._where(node)} returns it from {node.name}")

    def _class(self, node: ast.ClassDef) -> None:
        """What its body binds is an attribute, which nothing follows."""
        for part in [*node.decorator_list, *node.bases, *node.keywords, *node.body]:
            if isinstance(part, _Function):
                self._nested(part)
            else:
                self._part(part)

    def _within(self, node: _Function, env: dict[str, _Paths]) -> _Paths:
        inner = _Scope(self.analysis, self.module, node.body, env, node.name)
        inner.local, inner.imported = dict(self.local), dict(self.imported)
        return self.analysis.scope(inner, node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        pairs = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
        if pairs and len(target.elts) == len(value.elts):  # type: ignore[attr-defined]
            for one, its in zip(target.elts, value.elts, strict=True):  # type: ignore[attr-defined]
                self._assign(one, its)
            return
        if isinstance(target, ast.Name) and target.id not in self.elsewhere:
            paths = self._value(value)
            if paths:
                self.env[target.id] = self.env.get(target.id, _NONE) | paths
            return
        self._use(value)
        self._use(target)

    def _use(self, node: ast.expr) -> None:
        """`node` where nothing follows what it stands for."""
        for path in self._value(node):
            self.analysis.hand_on(path, f"{self._where(node)} hands it on")

    def _where(self, node: ast.AST) -> str:
        return f"{self.name} in {self.module.replace('.', '/')}.py:{getattr(node, 'lineno', 1)}"

    def _value(self, node: ast.expr) -> _Paths:
        """What `node` stands for; everything within it is looked at."""
        if isinstance(node, ast.Name):
            return self.env.get(node.id, _NONE)
        if isinstance(node, ast.Attribute):
            return self._taken(self._value(node.value), node.attr, node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.NamedExpr):
            self._assign(node.target, node.value)
            return self._value(node.value)
        if isinstance(node, ast.IfExp):
            self._test(node.test)
            return self._value(node.body) | self._value(node.orelse)
        if isinstance(node, ast.BoolOp):
            return frozenset().union(*(self._value(one) for one in node.values))
        if isinstance(node, ast.Compare):
            self._compare(node)
            return _NONE
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Lambda):
            hidden = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
            env = {name: paths for name, paths in self.env.items() if name not in hidden}
            body: list[ast.stmt] = [ast.copy_location(ast.Expr(node.body), node.body)]
            inner = _Scope(self.analysis, self.module, body, env, self.name, self.local)
            inner.imported = self.imported
            inner.look()
            inner._use(node.body)
            return _NONE
        for child in ast.iter_child_nodes(node):
            self._part(child)
        return _NONE

    def _part(self, node: ast.AST) -> None:
        if isinstance(node, ast.expr):
            self._use(node)
        else:
            for child in ast.iter_child_nodes(node):
                self._part(child)

    def _test(self, node: ast.expr) -> None:
        """Whether `settings` is there at all tells nothing of its keys."""
        if not isinstance(node, ast.Name):
            self._use(node)

    def _taken(self, paths: _Paths, name: str, node: ast.AST) -> _Paths:
        where = self._where(node)
        return frozenset().union(*(self.analysis.read(path, name, where) for path in paths))

    def _subscript(self, node: ast.Subscript) -> _Paths:
        paths = self._value(node.value)
        if not paths:
            self._use(node.slice)
            return _NONE
        name = _literal(node.slice)
        if name is None or any(len(path) < 1 for path in paths):
            self._use(node.slice)
            for path in paths:
                self.analysis.hand_on(path, f"{self._where(node)} takes a key by a name made there")
            return _NONE
        return self._taken(paths, name, node)

    def _compare(self, node: ast.Compare) -> None:
        """`is None` reads nothing; `"KEY" in settings.user.values` reads that key."""
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            name = _literal(left)
            if isinstance(operator, ast.Is | ast.IsNot):
                self._test(left)
                self._test(right)
            elif isinstance(operator, ast.In | ast.NotIn) and name is not None:
                for path in self._value(right):
                    if path == (_USER, _VALUES):
                        self._taken(frozenset({path}), name, node)
                    else:
                        self.analysis.hand_on(path, f"{self._where(node)} hands it on")
            else:
                self._use(left)
                self._use(right)

    def _call(self, node: ast.Call) -> _Paths:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in ("getattr", "hasattr") and len(node.args) >= 2:
            return self._getattr(node)
        if isinstance(node.func, ast.Attribute):
            paths = self._value(node.func.value)
            if paths:
                return self._method(node, node.func.attr, paths)
        elif not isinstance(node.func, ast.Name):
            self._use(node.func)
        if called in _OPAQUE and any(self.env.values()):
            self.analysis.hand_on((), f"{self._where(node)} calls {called}")
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        paths = frozenset().union(*(self._value(one) for one in given))
        return self._passed(node) if paths and called not in _HARMLESS else _NONE

    def _getattr(self, node: ast.Call) -> _Paths:
        """`getattr(settings.user, "KEY", default)`."""
        for rest in node.args[1:]:
            self._use(rest)
        paths, name = self._value(node.args[0]), _literal(node.args[1])
        if name is not None:
            return self._taken(paths, name, node)
        for path in paths:
            self.analysis.hand_on(path, f"{self._where(node)} takes a key by a name made there")
        return _NONE

    def _method(self, node: ast.Call, name: str, paths: _Paths) -> _Paths:
        """`settings.user.values.get("KEY")`, `settings.train_for(model)`; any other takes all."""
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        for one in given:
            self._use(one)
        key = _literal(node.args[0]) if node.args else None
        found: set[_Path] = set()
        for path in paths:
            if path == () and name == "train_for":
                found.add(("train",))
            elif path == (_USER, _VALUES) and name == "get" and key is not None:
                self._taken(frozenset({path}), key, node)
            elif not (path == () and name == "hide"):
                where = f"{self._where(node)} calls its {name}"
                self.analysis.hand_on(path, where)
        return frozenset(found)

    def _passed(self, node: ast.Call) -> _Paths:
        """A call that is handed settings: followed into the experiment's own functions."""
        functions = self._functions(node.func)
        found: set[_Path] = set()
        for where, function in functions:
            bound = self._arguments(node, function)
            if bound is None or self.analysis.own_decorator(where, function):
                functions = []
                break
            if function in self.local.values():
                env = {**self.env, **bound}
                found |= self._within(function, env)
            else:
                found |= self.analysis.function(where, function, bound)
        if functions:
            return frozenset(found)
        told = ast.unparse(node.func)
        for one in [*node.args, *(keyword.value for keyword in node.keywords)]:
            for path in self._value(one):
                where = f"{self._where(node)} passes it to {told}, which cannot be followed"
                self.analysis.hand_on(path, where)
        return _NONE

    def _functions(self, func: ast.expr) -> list[tuple[str, _Function]]:
        parts = ast.unparse(func).split(".")
        if len(parts) == 1:
            name = parts[0]
            if name in self.local and name not in self.env:
                return [(self.module, self.local[name])]
            if name in self.imported:
                return self.analysis.resolve(*self.imported[name])
            return self.analysis.resolve(self.module, name)
        source = self._module_named(parts[:-1])
        return self.analysis.resolve(source, parts[-1]) if source else []

    def _module_named(self, parts: Sequence[str]) -> str:
        """The experiment's module that `a.b` stands for here; empty if it is none."""
        dotted, reader = ".".join(parts), self.analysis.reader
        if len(parts) == 1 and dotted in self.imported:
            source, name = self.imported[dotted]
            inner = f"{source}.{name}".lstrip(".")
            return inner if reader.module(inner) else ""
        there = reader.module(self.module)
        for statement in there.binding(parts[0]) if there else []:
            for node in _own_statements(statement):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        if dotted in (alias.asname, alias.name) and reader.module(alias.name):
                            return alias.name
                elif isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        if (alias.asname or alias.name) == dotted:
                            inner = f"{reader.source_of(self.module, node)}.{alias.name}"
                            return inner.lstrip(".") if reader.module(inner.lstrip(".")) else ""
        return ""

    def _arguments(self, node: ast.Call, function: _Function) -> dict[str, _Paths] | None:
        """Parameter → what it is given of settings; None if that cannot be told."""
        if any(isinstance(one, ast.Starred) for one in node.args) or any(
            keyword.arg is None for keyword in node.keywords
        ):
            return None
        places = [*function.args.posonlyargs, *function.args.args]
        named = {one.arg for one in [*places, *function.args.kwonlyargs]}
        bound: dict[str, _Paths] = {}
        for place, argument in enumerate(node.args):
            paths = self._value(argument)
            if paths and place >= len(places):
                return None
            if paths:
                bound[places[place].arg] = paths
        for keyword in node.keywords:
            paths = self._value(keyword.value)
            if paths and keyword.arg not in named:
                return None
            if paths and keyword.arg:
                bound[keyword.arg] = paths
        return bound


def _own_statements(statement: ast.stmt) -> Iterator[ast.AST]:
    """`statement` and what stands in it at the same level: below `if` and `try`, too."""
    yield statement
    if not isinstance(statement, _Function | ast.ClassDef):
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                yield from _own_statements(child)  # type: ignore[arg-type]


def _binds_otherwise(node: ast.AST, name: str) -> bool:
    """Is it a simple statement that gives `name` another value?"""
    if isinstance(node, ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.Import):
        return any((alias.asname or alias.name.split(".")[0]) == name for alias in node.names)
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr):
        return any(
            isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Store)
            for one in ast.walk(node)
        )
    return False


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
