"""One function's body, with what its names stand for: `settings`, or a part of it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from handful.settings import SECTIONS, FrozenMap, Usage, keys_of
from handful.settings.usage import EVERYTHING
from handful.user_functions.settings_usage.binding import Binding, Function, bindings
from handful.user_functions.settings_usage.resolving import Resolver, Target

Path = tuple[str, ...]
"""() is `settings`, ("user",) is `settings.user`, ("user", "values") its mapping."""
Paths = frozenset[Path]
_NONE: Paths = frozenset()
_USER, _VALUES = "user", "values"
_SECTIONS = frozenset({*SECTIONS, _USER})
_HARMLESS = frozenset({"type", "id", "callable"})


@dataclass
class Analysis:
    """The reads found so far; in a round each function is looked at once for each way it is
    called."""

    resolver: Resolver
    keys: set[tuple[str, str]] = field(default_factory=set)
    whole: dict[str, str] = field(default_factory=dict)
    returned: dict[object, Paths] = field(default_factory=dict)
    looked_at: set[object] = field(default_factory=set)
    local: dict[int, Mapping[str, list[Binding]]] = field(default_factory=dict)
    """The bindings in a function, by the id of its node."""

    @property
    def usage(self) -> Usage:
        return Usage(frozenset(self.keys), FrozenMap(self.whole))

    def hand_on(self, path: Path, where: str) -> None:
        """`path` goes where it cannot be followed."""
        self.whole.setdefault(path[0] if path else EVERYTHING, where)

    def attribute(self, path: Path, name: str, where: str) -> Paths:
        """`name` of what `path` stands for; what that stands for in turn."""
        if not path and name in _SECTIONS:
            return frozenset({(name,)})
        if path == (_USER,) and name == _VALUES:
            return frozenset({(_USER, _VALUES)})
        is_key = path == (_USER,) and not name.startswith("_")
        if is_key or (len(path) == 1 and path[0] != _USER and name in keys_of(SECTIONS[path[0]])):
            self.keys.add((path[0], name))
        else:
            self.hand_on(path, f"{where} takes its {name}")
        return _NONE

    def function(
        self, target: Target, bound: Mapping[str, Paths], literals: Mapping[str, str] | None = None
    ) -> Paths:
        """Look at a function that is called with `bound`, and with the texts `literals`; the paths
        that it returns."""
        node, local = target.node, self.local.get(id(target.node))
        if local is None:
            local = self.local[id(node)] = bindings(node, within=True)
        env, texts = dict(bound), literals or {}
        scope = Scope(self, target.module, node.body, env, node.name, local, (node,), texts)
        return self.scope(scope, node)

    def scope(self, scope: Scope, node: ast.AST) -> Paths:
        """What is known so far of what `node` returns, once it was looked at in this round."""
        key = (id(node), frozenset(scope.env.items()), frozenset(scope.literals.items()))
        if key not in self.looked_at:
            self.looked_at.add(key)
            self.returned[key] = self.returned.get(key, _NONE) | scope.look()
        return self.returned.get(key, _NONE)


@dataclass
class Scope:
    """A function's body. What its names stand for only grows."""

    analysis: Analysis
    module: str
    body: list[ast.stmt]
    env: dict[str, Paths]
    name: str
    local: Mapping[str, list[Binding]]
    """Of the outermost function: what is bound in it, and in all functions within it."""
    chain: tuple[ast.AST, ...]
    """The functions whose names are seen here, from the outermost on."""
    literals: Mapping[str, str] = field(default_factory=dict)
    """Parameters that this call gives a literal text."""
    returns: set[Path] = field(default_factory=set)

    def look(self) -> Paths:
        """Until no name stands for more; what is returned."""
        while True:
            before = dict(self.env)
            for statement in self.body:
                self._statement(statement)
            if self.env == before:
                return frozenset(self.returns)

    def signature(self, node: Function | ast.Lambda) -> None:
        """Defaults and annotations are read where the function is made."""
        if getattr(node, "returns", None) is not None:
            self._use(node.returns)  # type: ignore[union-attr,arg-type]
        for part in ast.iter_child_nodes(node.args):
            if isinstance(part, ast.arg):
                self._part(part)
            elif isinstance(part, ast.expr):
                self._use(part)

    def _statement(self, node: ast.AST) -> None:
        if isinstance(node, Function):
            self._visit_nested_function(node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._use(node.annotation)
            self._assign(node.target, node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            self.returns |= self._value(node.value)
        elif isinstance(node, ast.Expr):
            self._value(node.value)
        elif isinstance(node, ast.If | ast.While):
            self._test(node.test)
            for statement in [*node.body, *node.orelse]:
                self._statement(statement)
        elif isinstance(node, ast.expr):
            self._use(node)
        else:
            for child in ast.iter_child_nodes(node):
                self._statement(child)

    def _visit_nested_function(self, node: Function) -> None:
        """A function within this one sees its names; its own parameters hide them."""
        for decorator in node.decorator_list:
            self._use(decorator)
        self.signature(node)
        for path in self._within(node, self._visible(node)):
            self.analysis.hand_on(path, f"{self._where(node)} returns it from {node.name}")

    def _visible(self, node: Function | ast.Lambda) -> dict[str, Paths]:
        hidden = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        return {name: paths for name, paths in self.env.items() if name not in hidden}

    def _class(self, node: ast.ClassDef) -> None:
        """What its body binds is an attribute, which nothing follows."""
        for part in [*node.decorator_list, *node.bases, *node.keywords, *node.body]:
            if isinstance(part, Function):
                self._visit_nested_function(part)
            elif isinstance(part, ast.expr):
                self._use(part)
            else:
                self._part(part)

    def _within(
        self, node: Function, env: dict[str, Paths], literals: Mapping[str, str] | None = None
    ) -> Paths:
        texts = {**self.literals, **(literals or {})}
        (owner,) = (o.owner for o in self.local[node.name] if o.node is node)
        above = self.chain[: self.chain.index(owner) + 1] if owner in self.chain else self.chain
        local, chain = self.local, (*above, node)
        inner = Scope(self.analysis, self.module, node.body, env, node.name, local, chain, texts)
        return self.analysis.scope(inner, node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            starred = any(isinstance(e, ast.Starred) for e in [*target.elts, *value.elts])
            if len(target.elts) == len(value.elts) and not starred:
                for one, its in zip(target.elts, value.elts, strict=True):
                    self._assign(one, its)
                return
        if isinstance(target, ast.Name) and not self._is_elsewhere(target.id):
            paths = self._value(value)
            if paths:
                self.env[target.id] = self.env.get(target.id, _NONE) | paths
            return
        self._use(value)
        self._use(target)

    def _is_elsewhere(self, name: str) -> bool:
        """Is the name declared global or nonlocal?"""
        kinds = ast.Global | ast.Nonlocal
        return any(isinstance(one.node, kinds) for one in self.local.get(name, []))

    def _use(self, node: ast.expr) -> None:
        """`node` where nothing follows what it stands for."""
        for path in self._value(node):
            self.analysis.hand_on(path, f"{self._where(node)} hands it on")

    def _where(self, node: ast.AST) -> str:
        return f"{self.name} in {self.module.replace('.', '/')}.py:{getattr(node, 'lineno', 1)}"

    def _value(self, node: ast.expr) -> Paths:
        """What `node` stands for; everything within it is looked at."""
        if isinstance(node, ast.Name):
            return self.env.get(node.id, _NONE)
        if isinstance(node, ast.Attribute):
            return self._attributes(self._value(node.value), node.attr, node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.NamedExpr):
            self._assign(node.target, node.value)
            return self._value(node.target)
        if isinstance(node, ast.IfExp):
            self._test(node.test)
            return self._value(node.body) | self._value(node.orelse)
        if isinstance(node, ast.BoolOp):
            return _union(self._value(one) for one in node.values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._test(node.operand)
        elif isinstance(node, ast.Compare):
            self._compare(node)
        elif isinstance(node, ast.Call):
            return self._call(node)
        elif isinstance(node, ast.Lambda):
            self._lambda(node)
        else:
            self._part(node)
        return _NONE

    def _lambda(self, node: ast.Lambda) -> None:
        self.signature(node)
        env = self._visible(node)
        local, chain = self.local, (*self.chain, node)
        inner = Scope(self.analysis, self.module, [], env, self.name, local, chain, self.literals)
        while True:
            before = dict(env)
            inner._use(node.body)
            if env == before:
                return

    def _part(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._use(child)
            elif isinstance(child, Function):
                self._visit_nested_function(child)
            else:
                self._part(child)

    def _test(self, node: ast.expr) -> None:
        """Whether `settings`, or a section, is there at all tells nothing of its keys."""
        for path in self._value(node):
            if len(path) > 1:
                self.analysis.hand_on(path, f"{self._where(node)} asks whether it is empty")

    def _attributes(self, paths: Paths, name: str, node: ast.AST) -> Paths:
        where = self._where(node)
        return _union(self.analysis.attribute(path, name, where) for path in paths)

    def _keys(self, paths: Paths, node: ast.expr, where: str) -> None:
        """A key by its name, as a mapping's: of `settings.user.values`, of anything else all."""
        name = self._literal(node)
        for path in paths:
            if path == (_USER, _VALUES) and name is not None:
                self.analysis.keys.add((_USER, name))
            else:
                self.analysis.hand_on(path, f"{where} takes a key by a name made there")

    def _subscript(self, node: ast.Subscript) -> Paths:
        paths = self._value(node.value)
        self._use(node.slice)
        self._keys(paths, node.slice, self._where(node))
        return _NONE

    def _compare(self, node: ast.Compare) -> None:
        """`is None` reads nothing; `"KEY" in settings.user.values` reads that key."""
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            if isinstance(operator, ast.Is | ast.IsNot):
                self._value(left)
                self._value(right)
            elif isinstance(operator, ast.In | ast.NotIn):
                self._use(left)
                self._keys(self._value(right), left, self._where(node))
            else:
                self._use(left)
                self._use(right)

    def _call(self, node: ast.Call) -> Paths:
        called = self._builtin(node.func)
        if called in ("getattr", "hasattr") and len(node.args) >= 2:
            return self._getattr(node)
        if isinstance(node.func, ast.Attribute):
            paths = self._value(node.func.value)
            if paths:
                return self._method(node, node.func.attr, paths)
        else:
            self._use(node.func)
        given = [(one, self._value(one)) for one in _call_argument_nodes(node)]
        if called in _HARMLESS or not any(paths for _, paths in given):
            return _NONE
        return self._follow_settings_call(node, {id(one): paths for one, paths in given})

    def _builtin(self, func: ast.expr) -> str:
        name = func.id if isinstance(func, ast.Name) else ""
        return name if self.analysis.resolver.is_builtin(name, self.module, self.local) else ""

    def _getattr(self, node: ast.Call) -> Paths:
        """`getattr(settings.user, "KEY", default)`."""
        for rest in [*node.args[1:], *(keyword.value for keyword in node.keywords)]:
            self._use(rest)
        paths, name = self._value(node.args[0]), self._literal(node.args[1])
        if name is not None:
            return self._attributes(paths, name, node)
        for path in paths:
            self.analysis.hand_on(path, f"{self._where(node)} takes a key by a name made there")
        return _NONE

    def _method(self, node: ast.Call, name: str, paths: Paths) -> Paths:
        """`settings.user.values.get("KEY")`, `settings.train_for(model)`; any other takes all."""
        for one in _call_argument_nodes(node):
            self._use(one)
        found: set[Path] = set()
        for path in paths:
            if path == () and name == "train_for":
                found.add(("train",))
            elif path == (_USER, _VALUES) and name == "get" and node.args:
                self._keys(frozenset({path}), node.args[0], self._where(node))
            elif not (path == () and name == "hide"):
                self.analysis.hand_on(path, f"{self._where(node)} calls its {name}")
        return frozenset(found)

    def _follow_settings_call(self, node: ast.Call, given: Mapping[int, Paths]) -> Paths:
        """A call that is handed settings: followed into the experiment's own functions."""
        found: set[Path] = set()
        targets = self._targets(node.func)
        if not targets:
            self._hand_on_arguments(node, given)
        for target in targets:
            placed = _match_call_arguments(node, target)
            bound = {name: given[id(one)] for name, one in placed.items() if given[id(one)]}
            if len(bound) < sum(map(bool, given.values())):  # one went where nobody can tell
                self._hand_on_arguments(node, given)
                continue
            texts = {n: t for n, one in placed.items() if (t := self._literal(one)) is not None}
            if any(one.node is target.node for one in self.local.get(target.node.name, [])):
                found |= self._within(target.node, {**self._visible(target.node), **bound}, texts)
            else:
                found |= self.analysis.function(target, bound, texts)
        return frozenset(found)

    def _literal(self, node: ast.expr) -> str | None:
        """The text that `node` is; also of a parameter that is bound by the call alone."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        found = self.local.get(node.id, []) if isinstance(node, ast.Name) else []
        once = len(found) == 1 and isinstance(found[0].node, ast.arg)
        return self.literals.get(node.id) if once and isinstance(node, ast.Name) else None

    def _hand_on_arguments(self, node: ast.Call, given: Mapping[int, Paths]) -> None:
        where = f"{self._where(node)} passes it to {ast.unparse(node.func)}"
        for path in _union(given.values()):
            self.analysis.hand_on(path, f"{where}, which cannot be followed")

    def _targets(self, func: ast.expr) -> list[Target]:
        """The functions that a call may end in; [] if it may end elsewhere."""
        resolver, parts = self.analysis.resolver, ast.unparse(func).split(".")
        if not all(part.isidentifier() for part in parts):
            return []
        here = self.local.get(parts[0])
        if here is not None and (len(here) != 1 or here[0].owner not in self.chain):
            return []  # bound more than once, or where it is not seen from here
        if len(parts) > 1:
            source = resolver.module_called(self.module, parts[:-1], here)
            return resolver.functions(source, parts[-1]) if source else []
        return self._targets_here(here[0]) if here else resolver.functions(self.module, parts[0])

    def _targets_here(self, one: Binding) -> list[Target]:
        """A name that is bound within this function, and once."""
        resolver = self.analysis.resolver
        if isinstance(one.node, Function):
            decorators = one.node.decorator_list
            plain = all(resolver.passes_on(self.module, d, self.local) for d in decorators)
            return [Target(self.module, one.node)] if plain else []
        if isinstance(one.node, ast.ImportFrom) and one.alias:
            source = resolver.reader.source_of(self.module, one.node)
            return resolver.functions(source, one.alias.name)
        return []


def _union(many: object) -> Paths:
    return frozenset().union(*many)  # type: ignore[misc]


def _call_argument_nodes(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def _match_call_arguments(node: ast.Call, target: Target) -> dict[str, ast.expr]:
    """Parameter → its argument, as far as that can be told."""
    arguments = target.node.args
    places = [*arguments.posonlyargs, *arguments.args][target.bound_to :]
    named = {one.arg for one in [*arguments.args, *arguments.kwonlyargs]}
    starred = [isinstance(one, ast.Starred) for one in node.args]
    count = starred.index(True) if True in starred else len(starred)
    found = {place.arg: one for place, one in zip(places, node.args[:count], strict=False)}
    for keyword in node.keywords:
        if keyword.arg in named:
            found[str(keyword.arg)] = keyword.value
    return found
