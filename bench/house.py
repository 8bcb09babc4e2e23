"""How easy the house is to find one's way in: counts of names, rooms, arrows and lines.

    python bench/house.py

A line for each count, with its limit; the exit status is 1 while one is missed. A name begins with
a past participle if its first word ends in "ed" or is one of `PARTICIPLES`. A room is a module or a
package at the top of `handful`; an arrow is a room that imports another, within functions, too.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/handful"
_WORDS = """
begun bound bought bred brought built caught chosen cut cast dealt done drawn driven fallen fed felt
fought found forgotten forgiven frozen given gone gotten grown heard held hidden hit kept known laid
led left lent let lost made meant met paid put read risen run said seen sent set shown shut sold
spent split spoken spread stood stolen struck sung sunk swept sworn taken taught thought thrown told
torn understood undone woken won worn written
"""
PARTICIPLES = frozenset(_WORDS.split())
_IN_THAT_FORM = "embed feed need seed speed exceed proceed read run set put let cut hit"
NOT_PARTICIPLES = frozenset(_IN_THAT_FORM.split())
"""Verbs, or nouns, in the same form."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Count:
    """One figure and how far it may go."""

    what: str
    seen: float
    at_most: float
    share: bool = False

    def __str__(self) -> str:
        def shown(value: float) -> str:
            return f"{value:.1%}" if self.share else f"{value:,.0f}"

        kept = "kept" if self.seen <= self.at_most else "MISSED"
        return f"{self.what:<66}{shown(self.seen):>8}  at most {shown(self.at_most):>7}  {kept}"


def main() -> int:
    trees = package_trees()
    arrows, rooms = _arrows(trees), {_room(path) for path in trees}
    story = (PACKAGE / "pipeline/run.py").read_text()
    counts = [
        Count("functions whose name begins with a past participle", participles(trees), 0.03, True),
        Count("top-level names that stand in more than one file", shared_names(trees), 0.05, True),
        Count("rooms at the top of the package", len(rooms - {"__init__", "__main__"}), 25),
        Count("arrows between them", len(arrows), 130),
        Count("pairs of rooms that lead to each other", len(_circles(arrows)), 0),
        Count("folders of more than twenty files", _full_folders(), 0),
        Count("places that ask which BACKEND it is", _asks_backend(), 0),
        Count("functions that take the whole Experiment", _whole_experiments(trees), 90),
        Count("lines of the pipeline's story", len(story.splitlines()), 120),
        Count("lines of README.md", len((ROOT / "README.md").read_text().splitlines()), 150),
    ]
    for count in counts:
        print(count)
    print(f"{'lines of code (no blanks, comments, docstrings)':<66}{_code_lines(trees):>8,}")
    return 0 if all(count.seen <= count.at_most for count in counts) else 1


Trees = Mapping[Path, ast.Module]


def package_trees() -> Trees:
    """Every module of the package, by its path; what `handful init` writes is the user's."""
    files = (path for path in sorted(PACKAGE.rglob("*.py")) if "templates" not in path.parts)
    return {path: ast.parse(path.read_text()) for path in files}


def participles(trees: Trees) -> float:
    """The share of functions and methods whose name begins with a past participle."""
    return len(list(functions_named_by_participle(trees))) / len(list(_function_names(trees)))


def functions_named_by_participle(trees: Trees) -> Iterable[str]:
    return (
        f"{path.name}: {name}"
        for path, name in _function_names(trees)
        if _begins_with_participle(name.strip("_"))
    )


def _function_names(trees: Trees) -> Iterable[tuple[Path, str]]:
    return (
        (path, node.name)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function) and not node.name.startswith("__")
    )


def _begins_with_participle(name: str) -> bool:
    word = name.split("_")[0].lower()
    if word in NOT_PARTICIPLES:
        return False
    return word in PARTICIPLES or (word.endswith("ed") and len(word) > 3)


def shared_names(trees: Trees) -> float:
    names: Counter[str] = Counter()
    for tree in trees.values():
        names.update(set(top_names(tree)))
    return sum(times > 1 for times in names.values()) / len(names)


def top_names(tree: ast.Module) -> Iterable[str]:
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _arrows(trees: Trees) -> set[tuple[str, str]]:
    rooms = {_room(path) for path in trees}
    found = set()
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] == "handful" and len(parts) > 1 and parts[1] in rooms:
                    found.add((_room(path), parts[1]))
    return {(one, other) for one, other in found if one != other}


def _circles(arrows: set[tuple[str, str]]) -> set[frozenset[str]]:
    """Pairs of rooms of which each leads to the other, over however many."""
    reach = {one: {b for a, b in arrows if a == one} for one in {a for a, _ in arrows}}
    while True:
        before = sum(map(len, reach.values()))
        for one, seen in reach.items():
            reach[one] = seen.union(*(reach.get(other, set()) for other in seen))
        if sum(map(len, reach.values())) == before:
            break
    return {frozenset((a, b)) for a in reach for b in reach[a] if a in reach.get(b, ()) and a != b}


def _full_folders() -> int:
    folders = {p.parent for p in PACKAGE.rglob("__init__.py")}
    return sum(len(list(folder.glob("*.py"))) > 20 for folder in folders)


def _asks_backend() -> int:
    outside = (
        p
        for p in PACKAGE.rglob("*.py")
        if "settings" not in p.parts and p.name != "open_backend.py"
    )
    return sum(len(re.findall(r"\bBACKEND (==|!=|in|not in) ", p.read_text())) for p in outside)


def _whole_experiments(trees: Trees) -> int:
    return sum(
        any(
            one.annotation is not None and ast.unparse(one.annotation) == "Experiment"
            for one in _all_arguments(node)
        )
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    )


def _all_arguments(node: Function) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def _code_lines(trees: Trees) -> int:
    return sum(len(_lines_of(path.read_text(), tree)) for path, tree in trees.items())


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _lines_of(text: str, tree: ast.Module) -> set[int]:
    blank = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in blank
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        for statement in (
            getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []
        ):
            if isinstance(statement, ast.Expr) and _is_text(statement.value):
                lines -= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return lines


if __name__ == "__main__":
    sys.exit(main())
