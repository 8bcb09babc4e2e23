"""Features and values, told apart in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Array2D, ClassLabel, Features, LargeList, List, Value

from handful.errors import DataError, FunctionsError
from handful.settings import Limit
from handful.steps.prepare.glance import glance
from handful.steps.prepare.instance import Instance
from handful.steps.prepare.quarantine import Quarantined, check_limit
from handful.steps.prepare.schema import (
    check_fields,
    described,
    flat_fields,
    has_nulls,
    misfit,
    plain,
    refuse,
    row_features,
    table_rows,
)


@pytest.mark.parametrize(
    ("feature", "value", "told"),
    [
        (Value("int64"), 3, ""),
        (Value("int64"), 3.0, "float"),
        (Value("int64"), "3", "str"),
        (Value("int64"), None, "None"),
        (Value("int8"), 127, ""),
        (Value("int8"), 128, "the int 128, which int8 cannot hold"),
        (Value("uint8"), 255, ""),
        (Value("uint8"), -1, "the int -1, which uint8 cannot hold"),
        (Value("float32"), 3, ""),
        (Value("float32"), "x", "str"),
        (Value("string"), "x", ""),
        (Value("string"), 1, "int"),
        (Value("bool"), True, ""),
        (Value("bool"), 1, "int"),
        (ClassLabel(names=["a", "b"]), "b", ""),
        (ClassLabel(names=["a", "b"]), "c", "the unknown class 'c'"),
        (List(Value("int32")), [], ""),
        (List(Value("int32")), [1, 2], ""),
        (List(Value("int32")), (1, 2), ""),
        (LargeList(Value("int32")), [1.5], "list of float"),
        (List(Value("int32")), 7, "int, not a list"),
        (List(Value("int32")), [1, None], "list of None"),
        (List(Value("int32")), [[1]], "list of list of int (nested one level too deep)"),
        (List(List(Value("int32"))), [1], "list of int, not a list"),
        (List(Value("int32"), length=3), [1, 2], "a list of 2"),
        ({"a": Value("int64")}, {"a": 1}, ""),
        ({"a": Value("int64")}, {"b": 1}, "{b: int}"),
        ({"a": Value("int64")}, {"a": 1.5}, "float in a"),
        (Array2D((2, 3), "float32"), [[1, 2, 3], [4, 5, 6]], ""),
        (Array2D((2, 3), "float32"), np.zeros((2, 3)), ""),
        (Array2D((2, 3), "float32"), np.zeros((3, 2)), "3 where the shape has 2"),
        (Array2D((2, 3), "float32"), [1, 2], "int, one level of nesting too few"),
        (Array2D((2, 3), "int64"), [[1.5] * 3] * 2, "float"),
    ],
)
def test_misfits(feature: Any, value: Any, told: str) -> None:
    assert misfit(feature, plain(value)) == told


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (List(Value("int32")), [1, 2]),
        (Array2D((2, 3), "float32"), np.ones((2, 3))),
        ({"a": List(Value("string"))}, {"a": ["x"]}),
        (Value("timestamp[s]"), 5),
    ],
)
def test_what_fits_can_be_saved(feature: Any, value: Any) -> None:
    assert misfit(feature, plain(value)) == ""
    datasets.Dataset.from_dict({"x": [value]}, features=Features({"x": feature}))


KINDS = [
    Value("int32"),
    Value("float32"),
    Value("string"),
    Value("bool"),
    List(Value("int32")),
    List(Value("float64"), length=2),
    List(List(Value("int8"))),
    Array2D((2, 3), "float32"),
    {"a": Value("int64")},
    ClassLabel(names=["a", "b"]),
]
VALUES: list[Any] = [
    *(1, 1.5, "3", True, None, [], [1], [1, 2], [1.5, 2.0], ["3"], [True], [None], [[1]], [[1.5]]),
    *(np.arange(2), np.ones(2), np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3), np.int64)),
    *({"a": 1}, {"a": "x"}, {"b": 1}, "b", np.float64(1.0), np.int64(1)),
]


def test_a_glance_never_likes_what_does_not_fit() -> None:
    liked = 0
    for feature in KINDS:
        look = glance(feature)
        for value in VALUES:
            if look(value):
                liked += 1
                assert misfit(feature, plain(value)) == "", (feature, value)
    print(f"{liked} of {len(KINDS) * len(VALUES)} liked")
    assert liked > 15
    usual = [1] * 500
    assert glance(List(Value("int32")))(usual)
    assert glance(Array2D((2, 3), "float32"))(np.ones((2, 3), np.float32))
    assert not glance(List(Value("int32")))([1.0, 2])


@pytest.mark.parametrize(
    ("feature", "values", "told"),
    [
        (List(Value("int32")), [[1], []], False),
        (List(Value("int32")), [[1], None], True),
        (List(Value("int32")), [[1, None]], True),
        (List(List(Value("int32"))), [[[1], [None]]], True),
        ({"a": Value("int32")}, [{"a": None}], True),
        (Array2D((1, 2), "float32"), [[[1.0, 2.0]]], False),
        (Array2D((1, 2), "float32"), [[[1.0, None]]], True),
        (Value("string"), ["", "x"], False),
    ],
)
def test_a_missing_value_is_found_at_any_depth(feature: Any, values: Any, told: bool) -> None:
    made = datasets.Dataset.from_dict({"x": values}, features=Features({"x": feature}))
    assert has_nulls(made.data.table["x"]) is told


def test_features_in_words() -> None:
    assert described(List(Value("int32"))) == "list of int32"
    assert described(List(List(Value("int8")), length=4)) == "list of 4 list of int8"
    assert described(Array2D((2, 3), "float32")) == "array (2, 3) of float32"
    assert described({"a": Value("string")}) == "{a: string}"
    assert described(ClassLabel(names=["a", "b"])) == "class label of 2"


def test_rows_have_the_users_features_first() -> None:
    promised = Features({"input_ids": List(Value("int32"))})
    rows = row_features(promised)
    assert list(rows) == ["input_ids", "labels", "artifact_id", "length"]
    assert list(promised) == ["input_ids"], "the user's own object was changed"
    assert flat_fields(rows) == ("input_ids",)
    with pytest.raises(FunctionsError, match="not int64"):
        row_features(Features({"labels": Value("string")}))
    with pytest.raises(FunctionsError, match="Image, which forward"):
        row_features(Features({"page": datasets.Image()}))


def test_every_kind_of_fault_has_its_own_words() -> None:
    features = row_features(
        Features({"input_ids": List(Value("int32")), "mask": List(Value("int8"))})
    )
    encoded = {"input_ids": [[1]], "extra": 1, "labels": 5}
    checks = list(check_fields(features, encoded, "b", "artifact-7", {"a": 0, "b": 1}))
    assert {check.field: check.ok for check in checks} == {
        "input_ids": False,
        "mask": False,
        "labels": False,
        "extra": False,
    }
    with pytest.raises(DataError) as raised:
        refuse(checks)
    told = str(raised.value)
    assert "field mask: expected list of int8, found missing, in artifact artifact-7" in told
    assert "field extra: expected no such field, found an extra field (int)" in told
    assert "nested one level too deep" in told
    assert "found 5, which is outside label2id (0 to 1)" in told
    good = list(check_fields(features, {"input_ids": [1], "mask": [1]}, "b", "x", {"a": 0, "b": 1}))
    refuse(good)
    assert table_rows(good) == [
        ("input_ids", "list of int32", "list of int", "yes"),
        ("mask", "list of int8", "list of int", "yes"),
    ]


class Lazy(Mapping[str, int]):
    """As tokenizers return: a mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def test_any_mapping_will_do() -> None:
    assert misfit({"a": Value("int64")}, plain(Lazy())) == ""


def test_an_instance_is_a_frozen_mapping() -> None:
    pages = [Path("page_1.png"), Path("page_2.png")]
    one = Instance("id-1", "letter", {"raw_text.json": Path("raw_text.json"), "page_*.png": pages})
    assert (one.id, one.label, len(one), list(one)) == ("id-1", "letter", 2, list(one.files))
    assert dict(one)["raw_text.json"] == Path("raw_text.json")
    one["page_*.png"].clear()  # type: ignore[union-attr]
    assert one["page_*.png"] == pages
    with pytest.raises(AttributeError):
        one.label = "other"  # type: ignore[misc]
    with pytest.raises(KeyError, match=r"did you mean 'raw_text.json'\?"):
        one["raw_text.jsn"]


def test_the_five_most_frequent_errors() -> None:
    errors = [f"E{number}" for number in range(7) for _ in range(number + 1)]
    mine = [Quarantined(f"id-{n}", "l", error, "") for n, error in enumerate(errors)]
    check_limit(mine, 2800, Limit(0.01, True), "m")
    with pytest.raises(DataError) as raised:
        check_limit(mine, 2799, Limit(0.01, True), "m")
    told = str(raised.value)
    assert "28 of 2799" in told
    assert "7 × E6 (such as id-21)" in told
    assert "E2 " in told
    assert "E1 " not in told
