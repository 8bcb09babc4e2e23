"""Names that tell what a thing does, and stand for one thing only: counted, and held."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_PARTICIPLES = 0.03
MOST_SHARED = 0.05


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / "bench" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trees(house: ModuleType) -> Any:
    return house.package_trees()


def test_functions_are_named_for_what_they_do(house: ModuleType, trees: Any) -> None:
    found = sorted(house.functions_named_by_participle(trees))
    assert house.participles(trees) <= MOST_PARTICIPLES, found


def test_a_name_stands_for_one_thing(house: ModuleType, trees: Any) -> None:
    files: Counter[str] = Counter()
    for tree in trees.values():
        files.update(set(house.top_names(tree)))
    shared = sorted(name for name, count in files.items() if count > 1)
    assert house.shared_names(trees) <= MOST_SHARED, shared


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("told", True),
        ("_made_from", True),
        ("checked_by", True),
        ("read_file", False),
        ("embed", False),
        ("feed_back", False),
        ("split_at", True),
        ("describe", False),
    ],
)
def test_what_counts_as_a_participle(house: ModuleType, name: str, is_one: bool) -> None:
    tree = ast.parse(f"def {name}(): ...")
    assert (house.participles({Path("x.py"): tree}) == 1) is is_one
