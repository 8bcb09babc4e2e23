"""functions.py made of functions that live elsewhere."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import re as regex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Features, List, Value

import handful
from handful.errors import FunctionsError
from handful.user_functions.load import load_functions
from handful.user_functions.write_source import format_functions

LENGTH = 3
KNOWN = {"a": (1, 2), "b": (3,)}
ENDLESS = float("inf")
MADE = np.random.default_rng(0)


class Reader:
    def words(self, path: Path) -> list[str]:
        return regex.findall(r"\w+", json.loads(path.read_text())["text"])


@functools.cache
def ids_of(word: str) -> int:
    return sum(map(ord, word)) + len(KNOWN)


def get_dataset_features() -> Features:
    return Features({"input_ids": List(Value("int32")), "labels": Value("int64")})


@handful.batched
def encode_data(instances: list[Any]) -> list[handful.Encoded]:
    found = [Reader().words(instance["text.json"]) for instance in instances]
    return [
        handful.Encoded({"input_ids": [ids_of(w) for w in words[:LENGTH]]}, full_length=len(words))
        for words in found
    ]


def compute_metrics(references: Any) -> dict[str, float]:
    MADE = np.asarray(references)
    return {"mean": float(MADE.mean())}


def test_what_is_written_works_without_where_it_came_from(tmp_path: Path) -> None:
    source = format_functions([get_dataset_features, encode_data, compute_metrics])
    (tmp_path / "functions.py").write_text(source)
    (tmp_path / "text.json").write_text(json.dumps({"text": "one two three four"}))

    functions = load_functions(tmp_path)
    (encoded,) = functions.call("encode_data", instances=[{"text.json": tmp_path / "text.json"}])

    assert encoded.features == {"input_ids": [ids_of(w) for w in ("one", "two", "three")]}
    assert encoded.full_length == 4
    assert functions.batched
    assert set(functions.call("get_dataset_features")) == {"input_ids", "labels"}
    assert functions.call("compute_metrics", references=[1, 2]) == {"mean": 1.5}


def test_only_what_is_named_is_written() -> None:
    source = format_functions([get_dataset_features])
    assert "class Reader" not in source
    assert "import json" not in source
    assert "from datasets import Features" in source


def test_a_value_stands_before_what_uses_it() -> None:
    source = format_functions([encode_data])
    assert source.index("KNOWN = ") < source.index("def ids_of") < source.index("def encode_data")
    assert source.index("class Reader") < source.index("def encode_data")


def _closure() -> Callable[..., Any]:
    held = 3

    def load_model(model_name: str) -> Any:
        return held, model_name

    return load_model


def _nested() -> Callable[..., Any]:
    def load_model(model_name: str) -> Any:
        return model_name

    return load_model


def process_func() -> float:
    return float(MADE.random())


def _of_infinity() -> Callable[..., Any]:
    def load_model() -> float:
        return ENDLESS

    load_model.__qualname__ = "load_model"
    return load_model


def _without_source() -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec("def load_model():\n    return 1\n", scope)
    return scope["load_model"]  # type: ignore[no-any-return]


def _lambda() -> Callable[..., Any]:
    made = lambda model_name: model_name  # noqa: E731
    made.__name__ = "load_model"
    return made


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_closure(), "load_model: is a closure over held"),
        (_nested(), "define it at the top level"),
        (process_func, "MADE: is 'Generator' made at run time"),
        (_of_infinity(), "ENDLESS: is 'float' made at run time"),
        (_without_source(), "has no source"),
        (lambda x: x, "<lambda>: is none of the functions that handful calls"),
        (_lambda(), "write it with def"),
        (get_dataset_features.__class__, "is none of the functions"),
    ],
)
def test_what_no_source_tells_is_refused(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(FunctionsError, match=regex.escape(words)):
        format_functions([function])


def test_all_faults_are_told_together() -> None:
    with pytest.raises(FunctionsError) as caught:
        format_functions([_closure(), process_func])
    assert "closure" in str(caught.value)
    assert "MADE" in str(caught.value)


def _module(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file of the user's own, imported."""
    name = f"mine_{len(list(folder.iterdir()))}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(name)


WRAPPER = """
import functools
def twice(f):
    @functools.wraps(f)
    def inner(*a): return f(*a) * 2
    return inner
"""
DRIFTED = {
    "a class defined twice": (
        "class K:\n    n = 1\nclass K:\n    n = 2\ndef process_func(x): return K.n\n",
        "K: is otherwise by now",
    ),
    "a class by a branch": (
        "if 0:\n    class K: n = 1\nelse:\n    class K: n = 2\ndef process_func(x): return K.n\n",
        "K: is otherwise by now",
    ),
    "a wrapper that was put on later": (
        f"{WRAPPER}def helper(x): return x\nhelper = twice(helper)\n"
        "def process_func(x): return helper(x)\n",
        "helper: is otherwise by now",
    ),
    "a default of what was bound again": (
        "B = 3\ndef helper(x, n=B): return n\nB = 99\ndef process_func(x): return helper(x)\n",
        "helper: is otherwise by now",
    ),
    "a default that has changed": (
        "def process_func(x, seen=[]):\n    seen.append(x)\n    return seen\nprocess_func(1)\n",
        "process_func: is otherwise by now",
    ),
    "an attribute of a class": (
        "class K:\n    n = 1\nK.n = 5\ndef process_func(x): return K.n\n",
        "K: is otherwise by now",
    ),
    "an attribute of a function": (
        "def helper(x): return helper.n\nhelper.n = 5\ndef process_func(x): return helper(x)\n",
        "helper: is otherwise by now",
    ),
    "two names of one list": (
        "A = [1]\nB = A\ndef process_func(x):\n    A.append(2)\n    return len(B)\n",
        "is one object with",
    ),
    "a name that is gone": (
        "def deco(f): return f\n@deco\ndef process_func(x): return x\ndel deco\n",
        "cannot be imported as written: NameError",
    ),
}


@pytest.mark.parametrize("kind", DRIFTED)
def test_what_its_source_makes_otherwise_by_now_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = DRIFTED[kind]
    mine = _module(tmp_path, source, monkeypatch)
    with pytest.raises(FunctionsError, match=regex.escape(words)):
        format_functions([mine.process_func])


def test_where_imports_stand_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler may call a module's function in another way where it sees the import."""
    plain = (
        "def process_func(x):\n    while len(x) < 3:\n        x = json.loads(json.dumps(x + x))\n"
    )
    mine = _module(tmp_path, f"{plain}    return {{k: x for k in x}}\n", monkeypatch)
    mine.json = json
    written: dict[str, Any] = {}
    exec(format_functions([mine.process_func]), written)
    assert written["process_func"]("x") == mine.process_func("x") == {"x": "xxxx"}


def test_a_file_that_was_edited_after_its_import_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = _module(tmp_path, "def process_func(x): return 1\n", monkeypatch)
    Path(mine.__file__).write_text("def process_func(x): return 100  # edited\n")
    with pytest.raises(FunctionsError, match="process_func: is otherwise by now"):
        format_functions([mine.process_func])


def test_a_builtin_that_is_ones_own_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _module(tmp_path, "def clip(x): return len(x)\n", monkeypatch)
    source = f"from {other.__name__} import clip\ndef len(x): return 42\n"
    source += "def process_func(x): return len(x), clip(x)\n"
    mine = _module(tmp_path, source, monkeypatch)
    with pytest.raises(FunctionsError, match="len: is Python's own to clip"):
        format_functions([mine.process_func])


SAME = {
    "decorators": f"{WRAPPER}@twice\ndef helper(x): return x\n"
    "def process_func(x): return helper(x)\n",
    "a base class that names its subclass": "class B:\n    def m(self): return D().k\n"
    "class D(B): k = 7\ndef process_func(x): return B().m()\n",
    "recursion of two": "def even(n): return n == 0 or odd(n - 1)\n"
    "def odd(n): return n != 0 and even(n - 1)\ndef process_func(x): return even(len(x))\n",
    "a dataclass": "from __future__ import annotations\nimport dataclasses\n"
    "@dataclasses.dataclass(frozen=True)\nclass P:\n    n: int = 4\n"
    "def process_func(x): return P().n\n",
    "an enum": "import enum\nclass C(enum.Enum):\n    A = 'x'\n"
    "def process_func(x): return C(x).name\n",
    "properties and static methods": "class K:\n    @property\n    def n(self): return self.two()\n"
    "    @staticmethod\n    def two(): return 2\n    @classmethod\n    def three(cls): return 3\n"
    "def process_func(x): return K().n + K.three()\n",
    "defaults and closures inside": "N = 3\ndef process_func(x, n=N, *, m=(1, 2)):\n"
    "    def add(y): return y + n\n    return [add(one) for one in m]\n",
    "a cache that was used": "import functools\n@functools.cache\ndef helper(x): return x\n"
    "helper('y')\ndef process_func(x): return helper(x)\n",
    "slots and an abstract base": "import abc\nclass A(abc.ABC):\n    __slots__ = ('n',)\n"
    "    @abc.abstractmethod\n    def m(self): ...\nclass K(A):\n    def m(self): return 5\n"
    "def process_func(x): return K().m()\n",
    "a list that has grown": "SEEN = []\nSEEN.append(1)\ndef process_func(x): return SEEN\n",
}


@pytest.mark.parametrize("kind", SAME)
def test_what_is_written_does_what_it_does_here(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = _module(tmp_path, SAME[kind], monkeypatch)
    written: dict[str, Any] = {"__name__": mine.__name__}
    exec(format_functions([mine.process_func]), written)
    assert written["process_func"]("x") == mine.process_func("x")
