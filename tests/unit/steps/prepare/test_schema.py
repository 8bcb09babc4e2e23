"""Features and values, told apart in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import datasets
import pytest
from datasets import Array2D, ClassLabel, Features, List, Value

from handful.errors import DataError, FunctionsError
from handful.settings import Limit
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.encoding.schema import (
    FieldCheck,
    check_fields,
    describe_feature_type,
    flat_fields,
    functions_at_fault,
    refuse,
    row_features,
    table_rows,
)
from handful.steps.prepare.encoding.values import plain
from handful.steps.prepare.quarantine import Quarantined, check_limit


def test_features_in_words() -> None:
    assert describe_feature_type(List(Value("int32"))) == "list of int32"
    assert describe_feature_type(List(List(Value("int8")), length=4)) == "list of 4 list of int8"
    assert describe_feature_type(Array2D((2, 3), "float32")) == "array (2, 3) of float32"
    assert describe_feature_type({"a": Value("string")}) == "{a: string}"
    assert describe_feature_type(ClassLabel(names=["a", "b"])) == "class label of 2"


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


def check(artifact: str, field: str = "ids", **more: bool) -> FieldCheck:
    return FieldCheck(
        field, "int32", "str", more.get("ok", False), artifact, more.get("raised", False)
    )


def test_odd_documents_of_a_sample_are_no_fault_of_the_functions() -> None:
    fine = [check(f"good-{number}", ok=True) for number in range(3)]
    raised = [check(f"raised-{number}", raised=True) for number in range(9)]
    odd = [check("odd-1"), check("odd-1", "mask"), check("odd-2"), check("odd-3")]
    assert functions_at_fault([*fine, *odd, *raised]) == []
    assert functions_at_fault([*fine, *odd, check("odd-4")]) == [*odd, check("odd-4")]
    label = check("odd-1", "labels")
    assert functions_at_fault([*fine, *odd, label]) == [label]


class Lazy(Mapping[str, int]):
    """As tokenizers return: a mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def test_any_mapping_will_do() -> None:
    assert plain(Lazy()) == {"a": 1}
    features = row_features(Features({"a": Value("int64")}))
    refuse(check_fields(features, Lazy(), "x", "artifact-1", {"x": 0}))


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
