"""Which settings the five functions read, from the syntax tree alone: nothing is run.

What a function is given as `settings` is followed through names, attributes, `getattr` and
subscripts with a literal name, and into the experiment's own functions that it is passed to. What
goes where reading cannot follow it (another library, a container, an attribute of an object, the
value that one of the five returns) counts whole: `settings.user` all keys of `[user]`, `settings`
itself all keys there are. A conservative analysis, flow-insensitive as that of Andersen (1994): a
name stands for all that it is ever bound to, so that no read is missed; and a call is followed only
if its name can stand for one function alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from handful.settings import EVERYTHING, FrozenMap, Usage
from handful.user_functions.load import FILE
from handful.user_functions.settings_usage.resolving import Resolver
from handful.user_functions.settings_usage.scope import Analysis, Paths
from handful.user_functions.source_hash import Reader

__all__ = ["settings_usage"]

PARAMETER = "settings"
_SETTINGS_BYPASS_PATTERN = re.compile(
    r"\.ini\b|\bread_settings\b|\bopen_experiment\b|@settings\b"
    r"|(?<![\w.])(?:globals|exec|eval|vars|locals)\b|\bbuiltins\b"
    r"|\b(?:f_back|currentframe|_getframe|inspect\.stack|f_locals|tb_frame|cell_contents)\b"
    r"|__(?:dict|code|closure|globals|getattribute)__"
)
"""Words in a function's sources that may let it read settings behind the back of any reader."""


def settings_usage(directory: Path, names: Sequence[str]) -> Usage:
    """What those of the five that are named in `names` read, with all the helpers they reach.

    Raises `FunctionsError` as `source_hash.function_hashes` does.
    """
    reader = Reader(directory)
    root = FILE.removesuffix(".py")
    found = Usage()
    for name in names:
        if reader.defines(root, name):
            found |= _of_one(reader, root, name)
    return found


def _of_one(reader: Reader, module: str, name: str) -> Usage:
    """Round by round, until nothing new is found: functions may call each other, and themselves."""
    for part in reader.parts_of(module, name):
        unseen = _SETTINGS_BYPASS_PATTERN.search(_without_errors(part))
        if unseen:
            return _everything(f"{name} reaches code with {unseen[0]!r} in it")
    if any("sys.modules" in ast.unparse(one.tree) for one in reader.imported(module)):
        return _everything("a module of the experiment changes sys.modules")
    if reader.not_followed:
        where = min(reader.not_followed)
        return _everything(f"{name} reaches an import that cannot be followed ({where})")
    analysis = Analysis(Resolver(reader))
    try:
        while True:
            before = analysis.usage, dict(analysis.returned)
            analysis.looked_at.clear()
            _trace_function_settings(analysis, module, name)
            if (analysis.usage, analysis.returned) == before:
                return analysis.usage
    except RecursionError:
        return _everything(f"{name} calls too deep to be followed")


class _Errors(ast.NodeTransformer):
    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node)


def _without_errors(part: str) -> str:
    """A source without what it raises: words for people may name any file."""
    try:
        return ast.unparse(_Errors().visit(ast.parse(part)))
    except SyntaxError:  # it is the name of a place
        return ""


def _everything(why: str) -> Usage:
    return Usage(whole=FrozenMap({EVERYTHING: why}))


def _trace_function_settings(analysis: Analysis, module: str, name: str) -> None:
    targets = analysis.resolver.functions(module, name)
    if not targets:
        analysis.hand_on((), f"{name} in {FILE} is no plain function")
    for target in targets:
        arguments = target.node.args
        if any(one.arg == PARAMETER for one in [*arguments.args, *arguments.kwonlyargs]):
            bound: dict[str, Paths] = {PARAMETER: frozenset({()})}
            for path in analysis.function(target, bound):
                analysis.hand_on(path, f"{name} returns it")
