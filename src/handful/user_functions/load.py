"""The five functions of an experiment: loaded by path, checked together, called by name.

Each function declares, by name, just the parameters that it wants out of its menu (as pytest
fixtures are asked for). All faults of the file are reported together.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from handful.errors import Fault, FunctionsError
from handful.errors.exceptions import contain_user_errors, describe_exception, place_in, shortage

FILE = "functions.py"
_BATCHED = "__handful_batched__"
_EXTRAS = {"lxml": "html", "pypdf": "pdf", "docx": "docx", "PIL": "images"}
"""Modules of the functions that `handful init` writes → the extra that brings them."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Menu:
    """One of the five: its name, and the parameters that it may ask for."""

    name: str
    required: bool
    parameters: tuple[str, ...]
    returns: str


MENUS: tuple[Menu, ...] = (
    Menu(
        "process_func",
        False,
        ("artifact", "files", "artifact_path", "experiment_path", "overwrite", "settings"),
        "nothing; it may write files under artifact_path",
    ),
    Menu(
        "get_dataset_features",
        True,
        ("model_name", "label2id", "settings"),
        "datasets.Features of what forward() takes",
    ),
    Menu(
        "encode_data",
        True,
        ("instance", "label2id", "model_name", "settings"),
        "a dict in the shape of the features, or None to leave the instance out",
    ),
    Menu(
        "load_model",
        False,
        ("model_name", "label2id", "id2label", "settings"),
        "a torch.nn.Module whose forward takes the features and returns .loss and .logits",
    ),
    Menu(
        "compute_metrics",
        False,
        ("logits", "predictions", "references", "label2id", "id2label", "settings"),
        "a dict of name to float",
    ),
)


@dataclass(frozen=True)
class Encoded:
    """What `encode_data` may return instead of a dict, to say how long the instance was."""

    features: Mapping[str, Any]
    full_length: int
    """Tokens before truncation."""


def batched(function: F) -> F:
    """Mark `encode_data` as taking `instances` (a list) and returning a list of that length."""
    setattr(function, _BATCHED, True)
    return function


@dataclass(frozen=True)
class Functions:
    """The loaded functions. `call` hands each just the parameters that it declares."""

    directory: Path
    found: Mapping[str, Callable[..., Any]]
    wanted: Mapping[str, frozenset[str]]

    def has(self, name: str) -> bool:
        return name in self.found

    @property
    def batched(self) -> bool:
        """Does `encode_data` take lists?"""
        return bool(getattr(self.found["encode_data"], _BATCHED, False))

    def call(self, name: str, **menu: Any) -> Any:
        """Call function `name`; what it raises is raised, `Ended` for what is no `Exception`."""
        wanted = self.wanted[name]
        with contain_user_errors():
            return self.found[name](**{key: value for key, value in menu.items() if key in wanted})


_functions_by_directory: dict[Path, Functions] = {}


def load_functions(directory: Path) -> Functions:
    """Import `functions.py` of an experiment, once per process.

    Raises `FunctionsError` with all faults together. The directory comes first on `sys.path`, so
    that its sibling modules are found.
    """
    directory = directory.resolve()
    if directory not in _functions_by_directory:
        _functions_by_directory[directory] = _check_functions_module(
            directory, _import_functions_module(directory)
        )
    return _functions_by_directory[directory]


def _import_functions_module(directory: Path) -> ModuleType:
    path = directory / FILE
    if not path.is_file():
        raise FunctionsError([missing_file(directory)])
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    spec = importlib.util.spec_from_file_location("handful_experiment_functions", path)
    if spec is None or spec.loader is None:
        raise FunctionsError([Fault(str(path), "it is no Python file")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with contain_user_errors():
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise FunctionsError([_syntax_fault(error)]) from error
    except ModuleNotFoundError as error:
        raise FunctionsError([_missing_module_fault(directory, error)]) from error
    except Exception as error:  # any error of the user's own code, told with its place
        short = shortage(error)
        if short:
            raise short from error
        raise FunctionsError([_own_fault(directory, error)]) from error
    return module


def missing_file(directory: Path) -> Fault:
    """An experiment without functions.py."""
    remedy = "`handful init NAME` writes one to start from"
    return Fault(str(directory / FILE), "there is no such file", remedy)


def _syntax_fault(error: SyntaxError) -> Fault:
    where = f"{Path(error.filename or FILE).name}:{error.lineno}"
    text = (error.text or "").strip()
    return Fault(where, f"syntax error: {error.msg}", f"in the line `{text}`" if text else "")


def _functions_error_place(directory: Path, error: BaseException) -> str:
    return place_in(directory, error) or FILE


def _missing_module_fault(directory: Path, error: ModuleNotFoundError) -> Fault:
    name = (error.name or "").split(".")[0]
    if (directory / name).is_dir() or (directory / f"{name}.py").is_file():
        remedy = f"there is {name} beside functions.py, but not {error.name} in it"
    else:
        package = f"'handful[{_EXTRAS[name]}]'" if name in _EXTRAS else name
        remedy = f"install it (`pip install {package}`) and name it in requirements.txt"
    return Fault(
        _functions_error_place(directory, error),
        f"cannot import {error.name}: no such module",
        remedy,
    )


def _own_fault(directory: Path, error: Exception) -> Fault:
    what = f"an error while it was imported: {describe_exception(error)}"
    return Fault(_functions_error_place(directory, error), what)


def _check_functions_module(directory: Path, module: ModuleType) -> Functions:
    faults: list[Fault] = []
    found: dict[str, Callable[..., Any]] = {}
    wanted: dict[str, frozenset[str]] = {}
    for menu in MENUS:
        function = getattr(module, menu.name, None)
        if function is None:
            faults += _absence_faults(menu, module)
            continue
        problem = _kind_fault(menu, function) or _parameter_faults(menu, function)
        faults += problem
        if not problem:
            found[menu.name] = function
            wanted[menu.name] = frozenset(inspect.signature(function).parameters)
    if faults:
        raise FunctionsError(faults)
    return Functions(directory, found, wanted)


def _absence_faults(menu: Menu, module: ModuleType) -> list[Fault]:
    """A missing required function, or a name that was probably meant to be this one."""
    own = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    others = [name for name in own if name not in {m.name for m in MENUS}]
    near = difflib.get_close_matches(menu.name, others, 1, 0.8)
    if near:
        where = f"{FILE}:{own[near[0]].__code__.co_firstlineno} {near[0]}"
        return [Fault(where, f"is none of the five; did you mean {menu.name}?")]
    if menu.required:
        asks = ", ".join(menu.parameters)
        remedy = f"it may ask for {asks}, and returns {menu.returns}"
        return [Fault(FILE, f"the function {menu.name} is missing", remedy)]
    return []


def _where(menu: Menu, function: object) -> str:
    code = getattr(function, "__code__", None)
    file = Path(code.co_filename).name if code else FILE
    return f"{file}:{code.co_firstlineno} {menu.name}" if code else f"{file} {menu.name}"


def _kind_fault(menu: Menu, function: object) -> list[Fault]:
    if not callable(function):
        return [Fault(_where(menu, function), f"is no function but {type(function).__name__}")]
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return [Fault(_where(menu, function), "is async; a plain function is wanted")]
    if inspect.isgeneratorfunction(function):
        return [Fault(_where(menu, function), "is a generator; return a value, do not yield")]
    return []


def _parameter_faults(menu: Menu, function: Callable[..., Any]) -> list[Fault]:
    """Parameters that are not on the menu. One with a default is left to its default."""
    on_menu = menu.parameters
    if menu.name == "encode_data" and getattr(function, _BATCHED, False):
        on_menu = ("instances", *on_menu[1:])
    faults = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            what = f"takes {parameter}; name the parameters that it wants"
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            what = f"takes {name} by position only; parameters are given by name"
        elif name in on_menu or parameter.default is not parameter.empty:
            continue
        else:
            near = difflib.get_close_matches(name, on_menu, 1, 0.6)
            meant = f"; did you mean {near[0]}?" if near else ""
            what = f"asks for {name!r}, which is not on its menu{meant}"
        faults.append(Fault(_where(menu, function), what, f"the menu: {', '.join(on_menu)}"))
    return faults
