"""The rooms and the arrows between them, drawn from the imports and held."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "handful"
# What `handful init` writes is the user's, no room of ours.
FILES = sorted(file for file in SOURCE.rglob("*.py") if "templates" not in file.parts)

LEAVES = {"errors", "records", "layout", "progress", "machine"}
LEAVES |= {"model_files", "positions", "metric_lines", "metric_names", "brought", "certificates"}
LEAVES |= {"document_text", "exceptions", "redaction", "csv_text", "checksums", "json_types"}
LEAVES |= {"paths", "recipe"}
"""Rooms that everyone may enter."""

ARROWS: dict[str, set[str]] = {
    "__init__": {"functions", "predicting"},
    "__main__": {"cli"},
    "errors": set(),
    "exceptions": {"errors", "machine"},
    "progress": set(),
    "machine": set(),
    "paths": {"errors"},
    "model_files": {"paths"},
    "positions": {"paths", "model_files"},
    "brought": set(),
    "certificates": set(),
    "document_text": {"exceptions"},
    "redaction": set(),
    "csv_text": set(),
    "checksums": {"errors"},
    "metric_lines": set(),
    "metric_names": set(),
    "json_types": set(),
    "records": {"json_types"},
    "layout": {"errors"},
    "recipe": set(),
    "settings": LEAVES,
    "functions": LEAVES,
    "sources": LEAVES | {"functions"},
    "settings_usage": LEAVES | {"settings", "functions", "sources"},
    "init": LEAVES,
    "scoring": LEAVES,
    "comparing": LEAVES | {"scoring"},
    "baseline": LEAVES | {"scoring"},
    "storage": LEAVES,
    "labels": LEAVES,
    "experiment": LEAVES | {"settings", "storage.base", "storage.checked", "storage.open"},
    "fingerprint": LEAVES | {"settings", "settings_usage", "sources"},
    "looks": LEAVES | {"experiment"},
    "kept_models": LEAVES | {"experiment"},
    "reviewing": LEAVES | {"experiment", "baseline"},
    "steps": LEAVES
    | {"experiment", "settings", "settings_usage", "functions", "sources"}
    | {"storage.base", "storage.open"}
    | {
        "storage.checked",
        "storage.keys",
        "labels.base",
        "backends.base",
        "report",
        "fingerprint",
        "__init__",
    }
    | {"scoring", "comparing", "baseline", "looks", "reviewing", "kept_models"},
    "training": LEAVES
    | {"experiment", "settings", "functions", "sources", "storage.base", "storage.open"}
    | {"storage.checked"}
    | {"fingerprint", "scoring", "baseline", "looks", "reviewing", "kept_models", "__init__"},
    "report": LEAVES
    | {"experiment", "settings", "storage.base", "scoring", "baseline", "looks", "__init__"},
    "aws": LEAVES | {"settings"},
    "backends": LEAVES | {"worker", "settings", "experiment", "storage.base", "__init__", "aws"},
    "images": LEAVES | {"aws", "backends.sagemaker", "experiment"},
    "worker": LEAVES
    | {"experiment", "functions", "backends.base", "backends.events", "storage.lock", "training"},
    "step": LEAVES | {"experiment"},
    "step_files": LEAVES | {"experiment", "storage.base", "storage.checked"},
    "production": LEAVES | {"experiment", "settings", "labels", "storage", "steps.reconcile"},
    "standing": LEAVES
    | {"experiment", "fingerprint", "step", "step_files", "storage.checked", "storage.lock"},
    "mark": LEAVES | {"experiment", "settings", "storage.base", "storage.tree"},
    "managed": LEAVES | {"experiment", "mark", "step", "standing", "storage", "backends"},
    "pipeline": LEAVES
    | {"step", "step_files", "standing", "experiment", "fingerprint", "mark", "managed"}
    | {"production"}
    | {"functions", "sources", "storage", "steps", "backends"},
    "machines": LEAVES
    | {"pipeline", "step", "standing", "experiment", "sources", "storage", "steps", "backends"}
    | {"production"},
    "across": LEAVES | {"pipeline", "step", "standing", "experiment", "steps"},
    "rehearsal": LEAVES
    | {"experiment", "settings", "settings_usage", "functions", "sources", "labels", "storage"}
    | {"steps", "training", "pipeline", "standing", "backends", "production"},
    "predicting": LEAVES
    | {"experiment", "settings", "functions", "sources", "fingerprint", "storage", "training"}
    | {"steps.prepare", "steps.reconcile", "production", "kept_models"},
    "cli": LEAVES
    | {"experiment", "settings", "init", "pipeline", "rehearsal", "standing", "step", "worker"}
    | {"mark"}
    | {"predicting", "aws", "images", "managed", "machines", "across", "kept_models"},
}


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Every module of handful that `file` imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(file.read_text())):
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
        for node in ast.walk(ast.parse(file.read_text())):
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


def test_the_map_has_no_circle() -> None:
    """`pipeline` and the leaves never import each other, directly or through others."""
    rooms = {room: {door.split(".")[0] for door in doors} for room, doors in ARROWS.items()}
    # A backend runs the worker, which knows only the backends' protocol and events.
    rooms["worker"] -= {"backends"}
    # `handful.Classifier` is imported when somebody asks for it, never with the package.
    rooms["__init__"] -= {"predicting"}

    def reach(room: str, path: tuple[str, ...]) -> None:
        assert room not in path, f"a circle: {' -> '.join((*path, room))}"
        for door in rooms.get(room, ()):
            reach(door, (*path, room))

    for room in rooms:
        reach(room, ())


def test_the_command_line_alone_prints() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in FILES
        if not module_name(file).startswith("cli")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not wrong
