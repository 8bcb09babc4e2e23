"""functions.py made of functions that live elsewhere."""

from __future__ import annotations

import functools
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
