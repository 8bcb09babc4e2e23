"""The rooms and the arrows between them, drawn from the imports and held."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "handful"
# What `handful init` writes is the user's, no room of ours.
FILES = sorted(file for file in SOURCE.rglob("*.py") if "templates" not in file.parts)

LEAVES = {"errors", "files", "layout", "progress", "records", "system"}
"""Rooms that everyone may enter."""
STORE = {"storage.base", "storage.checked"}
"""A store as whoever uses one sees it: its protocol, and the one that looks at what it reads."""
USERS = {"user_functions.load", "user_functions.source_hash", "user_functions.settings_usage"}
USERS |= {"user_functions.workers"}
MOST_ROOMS = 25
MOST_ARROWS = 130

ARROWS: dict[str, set[str]] = {
    "__init__": {"user_functions.load", "inference.classifier", "pipeline.notebook"},
    "__main__": {"cli"},
    # The names by which others import them.
    "functions": {"user_functions.load"},
    "worker": {"errors", "backends.worker"},
    "system": set(),
    "progress": set(),
    "records": set(),
    "errors": {"system.machine"},
    "layout": {"errors"},
    "files": {"errors"},
    "jobs": {"layout", "progress"},
    "settings": LEAVES,
    "storage": LEAVES,
    "labels": LEAVES,
    "user_functions": LEAVES | {"settings"},
    "experiment": LEAVES | STORE | USERS | {"settings", "storage.open", "storage.tree"},
    "evaluation": LEAVES | {"storage.base"},
    "report": LEAVES | {"storage.base", "evaluation"},
    "training": LEAVES | STORE | USERS | {"settings", "experiment", "evaluation", "jobs"},
    "backends": LEAVES
    | {"storage.base", "storage.lock", "user_functions.load", "experiment.context", "jobs"}
    | {"training.loop.process_group"},
    "sagemaker": LEAVES
    | {"settings", "storage.base", "experiment.context", "experiment.model_identity"}
    | {"jobs", "backends"},
    "steps": LEAVES
    | STORE
    | USERS
    | {
        "settings",
        "storage.keys",
        "storage.row_files",
        "labels.base",
        "experiment",
        "evaluation",
        "report",
    }
    | {"backends.base", "jobs", "__init__"},
    "pipeline": LEAVES
    | USERS
    | {"user_functions.write_source"}
    | {"settings", "storage", "labels", "experiment", "training.calls", "training.check"}
    | {"steps", "backends", "jobs.arguments", "sagemaker.jobs"},
    "inference": LEAVES
    | USERS
    | {"settings", "storage", "experiment", "pipeline.production"}
    | {"steps.prepare", "steps.reconcile"}
    | {"training.calls", "training.serving", "training.model.exporting"},
    "cli": LEAVES
    | {"settings", "experiment", "backends.worker", "sagemaker.account", "sagemaker.image"}
    | {"inference", "pipeline"},
}


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


@cache
def nodes(file: Path) -> Sequence[ast.AST]:
    """All of a module, parsed once for all that look at it."""
    return tuple(ast.walk(ast.parse(file.read_text())))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Every module of handful that `file` imports, wherever in it, with the line."""
    for node in nodes(file):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports by dots"
            module = node.module or ""
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else module for name in submodules]
        else:
            continue
        for name in names:
            if name == "handful":
                yield node.lineno, "__init__"
            elif name.startswith("handful."):
                yield node.lineno, name.removeprefix("handful.")


@cache
def is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def allowed(module: str, target: str) -> bool:
    room = module.split(".")[0]
    if target.split(".")[0] == room:
        return True
    return any(target == door or target.startswith(f"{door}.") for door in ARROWS[room])


def test_every_import_follows_an_arrow() -> None:
    wrong = []
    for file in FILES:
        module = module_name(file)
        assert module.split(".")[0] in ARROWS, f"{file}: a room that is not on the map"
        wrong += [
            f"{file.relative_to(SOURCE)}:{line} {module} -> {target}"
            for line, target in imports(file)
            if not allowed(module, target)
        ]
    assert not wrong, "arrows that are not on the map:\n" + "\n".join(wrong)


def test_only_the_training_room_imports_torch() -> None:
    wrong = []
    for file in FILES:
        if module_name(file).startswith("training"):
            continue
        for node in nodes(file):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            wrong += [
                f"{file.relative_to(SOURCE)}:{node.lineno}"
                for name in names
                if name.split(".")[0] in {"torch", "accelerate"}
            ]
    assert not wrong


def arrows() -> set[tuple[str, str]]:
    """Every pair of rooms of which the first imports something of the second."""
    pairs = {
        (module_name(file).split(".")[0], target.split(".")[0])
        for file in FILES
        for _, target in imports(file)
    }
    return {(room, target) for room, target in pairs if room != target and target != "__init__"}


def test_the_house_is_small_enough_to_know_one_s_way_in_it() -> None:
    rooms = {module_name(file).split(".")[0] for file in FILES} - {"__init__", "__main__"}
    drawn = sorted(arrows())
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)
    assert len(drawn) <= MOST_ARROWS, drawn


def test_no_folder_holds_more_files_than_can_be_looked_over() -> None:
    counts = {folder: len(list(folder.glob("*.py"))) for folder in {f.parent for f in FILES}}
    assert not {str(folder): count for folder, count in counts.items() if count > 20}


def test_the_rooms_have_no_circle() -> None:
    """No room leads back to itself, imports within functions counted."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for room, target in arrows():
        sorter.add(room, target)
    sorter.prepare()  # CycleError names the circle


def test_the_command_line_alone_prints() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in FILES
        if not module_name(file).startswith("cli")
        for node in nodes(file)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not wrong
