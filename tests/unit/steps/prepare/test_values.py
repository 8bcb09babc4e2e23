"""Every feature that can be trained on, crossed with whatever `encode_data` may give for it.

At the level of a shard: what a worker does with the answers. A value comes back from Arrow as it
is, or its document is quarantined, with the column, the type and the value; and neighbours stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Features, List, Value

from handful.errors import FunctionsError
from handful.experiment.context import open_experiment
from handful.progress import Silent
from handful.steps.prepare.encoding import columns, merge_shards
from handful.steps.prepare.encoding.columns import Columns
from handful.steps.prepare.encoding.encode import EncodeShard, Shard
from handful.steps.prepare.encoding.feature_types import describe_feature_type
from handful.steps.prepare.encoding.instance import Instances
from handful.steps.prepare.encoding.schema import row_features
from handful.steps.prepare.encoding.values import Misfit
from handful.user_functions.load import Encoded
from handful.user_functions.workers.heartbeat import Gauge
from handful.user_functions.workers.messages import Desk
from tests.support import feature_values
from tests.support.feature_values import (
    IMPOSSIBLE,
    TRAINABLE,
    UNTRAINABLE,
    VALUES,
    Refused,
    expected,
    good,
)
from tests.support.preparing import bench

ANSWERS: dict[str, Callable[[], Any]] = {}
"""Instance id → what makes the value of its only field; read by functions.py below."""
FUNCTIONS = f"""
import sys

ROW = {{}}


def get_dataset_features():
    raise AssertionError("the features are given")


def encode_data(instance):
    answer = sys.modules["{__name__}"].ANSWERS[instance.id]()
    if type(answer).__name__ == "Whole":
        return answer.make()
    ROW["x"] = answer
    return ROW  # one and the same for all
"""


@dataclass(frozen=True)
class Whole:
    """Not the value of the field: what makes the whole answer."""

    make: Callable[[], Any]


class Broken(UserDict[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise OSError("the file behind it is gone")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def mute() -> Any:
    raise Mute


FEW = (
    *("int8", "float32", "bool", "class", "list of int32", "list of float16", "list of class"),
    *("two of int32", "large list of float32", "list of list of int16", "array 2x3 of float32"),
    *("array ?x2 of int32", "array 1x2x2 of float16", "list of array ?x2 of int16"),
)
"""Features of the cheap cut: one of each kind."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = bench(tmp_path, 1, FUNCTIONS)
    assert sys.modules[__name__].ANSWERS is ANSWERS
    settings = open_experiment(made.directory, (), Silent(), tmp_path).settings
    yield Desk(made.directory, settings, Gauge(tmp_path / "gauge"))
    ANSWERS.clear()


def encoded(
    desk: Desk, feature: Any, answers: Mapping[str, Callable[[], Any]]
) -> tuple[Path, Shard]:
    """The shard of these answers, and what is told of it."""
    ANSWERS.update(answers)
    ids = tuple(answers)
    path = desk.directory.parent / "shard.arrow"
    features = row_features(Features({"x": feature})).to_dict()
    work = EncodeShard(
        model="tiny",
        label2id={"letter": 0},
        instances=Instances(path.parent, ids, ("letter",) * len(ids), ({},) * len(ids)),
        patience=60,
        number=0,
        features=json.loads(json.dumps(features)),
        path=path,
    )
    return path, work.do(desk)


def shard(
    desk: Desk, feature: Any, answers: Mapping[str, Callable[[], Any]]
) -> tuple[datasets.Dataset, Shard]:
    """What `datasets` opens once the shard of these answers is joined, and what is told of it."""
    path, told = encoded(desk, feature, answers)
    features = row_features(Features({"x": feature})).to_dict()
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    joined = merge_shards.join([path], features, dict.fromkeys(answers, "train"), folder)["train"]
    return datasets.load_from_disk(str(joined.path)), told


def same(one: Any, other: Any) -> bool:
    """Equal in types and values, to the sign of zero."""
    return repr(one) == repr(other)


def judged(feature: Any, make: Callable[[], Any]) -> tuple[bool, Any]:
    """Whether the oracle takes the value; and what has to come back, or the value at fault."""
    try:
        return True, expected(feature, make())
    except Refused as refused:
        return False, refused.args[0]


def check_all_in_one_shard(desk: Desk, name: str) -> tuple[int, int]:
    """All values beside each other and beside good ones; how many came back, and how many not."""
    feature = TRAINABLE[name]
    answers: dict[str, Callable[[], Any]] = {}
    for number, make in enumerate(VALUES.values()):
        answers[f"{number:04d}-odd"] = make
        answers[f"{number:04d}-good"] = lambda: good(feature)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, told = shard(desk, feature, answers)
    assert found.features["x"] == feature
    rows = {row["artifact_id"]: row["x"] for row in found}
    errors = {one.artifact_id: one.error for one in told.quarantined}
    assert rows.keys() | errors.keys() == answers.keys()
    assert not rows.keys() & errors.keys()
    for number, (value_name, make) in enumerate(VALUES.items()):
        check_one(feature, value_name, make, rows, errors, f"{number:04d}-odd")
        assert same(rows[f"{number:04d}-good"], good_back(feature)), value_name
    return len(rows), len(errors)


def is_open_list(feature: Any) -> bool:
    """A plain list of single values, of any length."""
    if not isinstance(feature, datasets.List | datasets.LargeList):
        return False
    single = isinstance(feature.feature, datasets.Value | datasets.ClassLabel)
    return single and getattr(feature, "length", -1) < 0


def good_back(feature: Any) -> Any:
    return expected(feature, good(feature))


def check_one(
    feature: Any,
    value_name: str,
    make: Callable[[], Any],
    rows: Mapping[str, Any],
    errors: Mapping[str, str],
    artifact: str,
) -> None:
    fits, what = judged(feature, make)
    if fits and what == [] and is_open_list(feature):  # a row of nothing else is none
        assert "nothing to read: x of length 0" in errors[artifact], value_name
        return
    if fits:
        assert artifact in rows, (value_name, errors.get(artifact))
        assert same(rows[artifact], what), (value_name, rows[artifact], what)
        return
    assert artifact in errors, (value_name, rows.get(artifact))
    told = errors[artifact]
    assert f"field x: expected {describe_feature_type(feature)}, found " in told, (value_name, told)
    is_shape = " where the shape has " in told or "found list of a list of " in told
    if isinstance(what, int | float | str | bytes) and not is_shape:
        assert repr(what)[:20].strip("'") in told, (value_name, told)


@pytest.mark.parametrize("name", FEW)
def test_every_value_beside_all_others(desk: Desk, name: str) -> None:
    rows, errors = check_all_in_one_shard(desk, name)
    assert rows > len(VALUES)
    assert errors > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAINABLE.keys() - set(FEW)))
def test_every_value_beside_all_others_of_the_other_features(desk: Desk, name: str) -> None:
    check_all_in_one_shard(desk, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINABLE)
def test_every_value_in_a_shard_of_its_own(desk: Desk, name: str) -> None:
    """Between two good ones; and alone it is what `datasets` itself makes of it, if that does."""
    feature = TRAINABLE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value_name, make in VALUES.items():
            answers = {"a": lambda: good(feature), "b": make, "c": lambda: good(feature)}
            path, told = encoded(desk, feature, answers)
            with pa.ipc.open_stream(str(path)) as stream:
                found = stream.read_all().to_pylist()
            rows = {row["artifact_id"]: row["x"] for row in found}
            check_one(
                feature,
                value_name,
                make,
                rows,
                {one.artifact_id: one.error for one in told.quarantined},
                "b",
            )
            assert same(rows["a"], good_back(feature))
            assert same(rows["c"], good_back(feature))
            if "b" in rows and value_name != "DataFrame":  # of it `datasets` takes the names
                check_as_datasets_has_it(feature, value_name, make)


def check_as_datasets_has_it(feature: Any, name: str, make: Callable[[], Any]) -> None:
    mine = Columns({"x": feature})["x"]
    ours = mine.array([mine.plain(make())])
    try:
        theirs = datasets.Dataset.from_dict({"x": [make()]}, features=Features({"x": feature}))
        made = theirs.data.table["x"].combine_chunks()
    except Exception:  # noqa: BLE001 - whatever is beyond it: it is what we are for
        return
    if made.null_count or not made.equals(made) or None in made.to_pylist():
        return
    assert ours.equals(made), name


@pytest.mark.parametrize(
    "shared", [[0, 0], np.zeros(2, np.int64), torch.zeros(2, dtype=torch.int64)], ids=str
)
def test_what_the_next_call_overwrites_stays_what_it_was(desk: Desk, shared: Any) -> None:
    def fill(number: int) -> Any:
        shared[0] = shared[1] = number
        return shared

    answers = {f"{n:02d}": lambda n=n: fill(n) for n in range(70)}  # type: ignore[misc]
    found, _ = shard(desk, List(Value("int16")), answers)
    assert {row["artifact_id"]: row["x"] for row in found} == {
        f"{n:02d}": [n, n] for n in range(70)
    }


def test_odd_answers_cost_their_documents(desk: Desk) -> None:
    fine: dict[str, Callable[[], Any]] = {
        "a": lambda: Whole(lambda: UserDict({"x": [1]})),
        "b": lambda: Whole(lambda: MappingProxyType({"x": (1,)})),
        "c": lambda: Whole(lambda: Encoded(UserDict({"x": [1]}), full_length=np.int8(3))),
    }
    odd: dict[str, tuple[Callable[[], Any], str]] = {
        "d": (lambda: Broken({"x": [1]}), "OSError: the file behind it is gone"),
        "e": (mute, "Mute: (its message cannot be read)"),
        "f": (lambda: {"x": [1], 5: [1]}, "ValueError: extra field 5: it does not fit"),
        "g": (lambda: {}, "ValueError: missing field x: it does not fit"),
        "h": (lambda: [{"x": [1]}], "TypeError: encode_data returned list, not a dict or None"),
        "i": (lambda: "text", "TypeError: encode_data returned str, not a dict or None"),
        "j": (lambda: Encoded({"x": [1]}, full_length=1.5), "ValueError: full_length: expected an"),  # type: ignore[arg-type]
        "k": (lambda: Encoded([1], full_length=1), "TypeError: encode_data returned list, not"),  # type: ignore[arg-type]
        "l": (
            lambda: {"x": [1], "labels": True},
            "ValueError: field labels: expected 0 ('letter')",
        ),
        "m": (
            lambda: {"x": [1], "labels": None},
            "ValueError: field labels: expected 0 ('letter')",
        ),
        "n": (sys.exit, "SystemExit: "),
    }
    answers = fine | {name: lambda m=make: Whole(m) for name, (make, _) in odd.items()}  # type: ignore[misc]
    found, told = shard(desk, List(Value("int8")), {**answers, "o": lambda: [1]})
    assert {row["artifact_id"]: row["x"] for row in found} == {n: [1] for n in [*fine, "o"]}
    errors = {one.artifact_id: one.error for one in told.quarantined}
    assert errors.keys() == odd.keys()
    for name, (_, words) in odd.items():
        assert errors[name].startswith(words.strip()), errors[name]
    assert json.loads(json.dumps(told.to_json()))["truncation"] == {"letter": [4, 1, 1, 3, 2]}


@pytest.mark.parametrize("name", UNTRAINABLE)
def test_what_nobody_can_train_on_is_refused_in_true_words(name: str) -> None:
    feature, told = UNTRAINABLE[name]
    with pytest.raises(FunctionsError, match=f"(?s)field 'x' {told}"):
        row_features(Features({"x": feature}))


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_is_no_feature_is_refused_in_true_words(name: str) -> None:
    feature, told = IMPOSSIBLE[name]
    promised = Features()
    dict.__setitem__(promised, "x", feature)
    with pytest.raises(FunctionsError, match=f"(?s){told}"):
        row_features(promised)


def test_all_faults_of_the_features_are_told_together() -> None:
    with pytest.raises(FunctionsError) as raised:
        row_features(
            Features(
                {"text": Value("string"), "page": datasets.Image(), "ids": List(Value("int8"))}
            )
        )
    told = str(raised.value)
    assert "field 'text' is string, which forward() cannot take" in told
    assert "field 'page' is Image, which forward() cannot take" in told
    assert "ids" not in told


@pytest.mark.parametrize("name", [*TRAINABLE, *UNTRAINABLE])
def test_a_feature_survives_our_records(tmp_path: Path, name: str) -> None:
    """As features.json and as dataset_info.json, whether or not it can be trained on."""
    feature = TRAINABLE[name] if name in TRAINABLE else UNTRAINABLE[name][0]
    features = Features({"x": feature, "_type": Value("int8")})
    assert Features.from_dict(json.loads(json.dumps(features.to_dict()))) == features
    merge_shards.SplitFolder(tmp_path / "train", features).finish()
    info = json.loads((tmp_path / "train/dataset_info.json").read_text())
    assert Features.from_dict(info["features"]) == features
    saved = datasets.DatasetInfo.from_directory(str(tmp_path / "train"))
    assert saved.features == features


def test_numbers_of_numpy_in_features_are_saved() -> None:
    promised = Features(
        {
            "x": datasets.Array2D((np.int64(2), 3), "int8"),
            "y": List(Value("int8"), length=np.int32(2)),
            "z": datasets.ClassLabel(names=range(3)),  # type: ignore[arg-type]
        }
    )
    rows = row_features(promised)
    assert Features.from_dict(json.loads(json.dumps(rows.to_dict()))) == rows
    assert (rows["x"].shape, rows["y"].length, rows["z"].names) == ((2, 3), 2, [0, 1, 2])


LABELS = {"letter": 1, "invoice": 0}


@pytest.mark.parametrize("names", [["invoice", "letter"], ["0", "1"], ["0", "1", "2"]])
def test_class_names_of_labels(names: list[str]) -> None:
    promised = Features({"labels": datasets.ClassLabel(names=names)})
    assert row_features(promised, LABELS)["labels"].names == names


@pytest.mark.parametrize(
    "names", [["letter", "invoice"], ["invoice"], ["0"], ["invoice", "letter", "memo"], ["a", "b"]]
)
def test_class_names_that_would_lie_are_refused(names: list[str]) -> None:
    promised = Features({"labels": datasets.ClassLabel(names=names)})
    with pytest.raises(FunctionsError, match=r"(?s)than label2id: .*sorted\(label2id"):
        row_features(promised, LABELS)


def test_a_batch_that_arrow_cannot_hold_is_halved(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of 32-bit offsets end somewhere: all together, or one alone."""
    monkeypatch.setattr(columns, "MOST", 100)
    answers: dict[str, Callable[[], Any]] = {
        f"{number:02d}": lambda n=number: [n] * (101 if n == 13 else 30) for number in range(20)
    }
    found, told = shard(desk, List(Value("int16")), answers)
    assert {one.artifact_id: one.error for one in told.quarantined} == {
        "13": "OverflowError: 101 values are more than a List holds: 100"
    }
    rows = {row["artifact_id"]: row["x"] for row in found}
    assert rows == {f"{n:02d}": [n] * 30 for n in range(20) if n != 13}
    assert told.rows == 19
    large, told = shard(desk, datasets.LargeList(Value("int16")), answers)
    assert (len(large), told.quarantined) == (20, [])


@pytest.mark.parametrize(
    ("feature", "value", "told"),
    [
        (Value("int64"), 3.0, "float 3.0"),
        (Value("int8"), 128, "the int 128, which int8 cannot hold"),
        (Value("float32"), 10**40, "the int 10{40}, which float32 cannot hold"),
        (Value("float64"), 1e39, r"the float 1e\+39, which a tensor \(float32\) cannot hold"),
        (Value("uint64"), 1 << 63, r"the int \d+, which a tensor \(int64\) cannot hold"),
        (Value("float16"), 2049, "the int 2049, which float16 cannot hold exactly"),
        (List(Value("int32")), [1, "2", 3], r"list of str '2' at \[1\]"),
        (List(Value("int32")), [1, None], r"list of None at \[1\]"),
        (List(Value("float32")), [1.0, float("nan")], r"list of the float nan, .* at \[1\]"),
        (List(List(Value("int8"))), [[1], [2, "x"]], r"list of list of str 'x' at \[1\]\[1\]"),
        (List(List(Value("int8"))), [[1], 2], r"list of int 2, not a list at \[1\]"),
        (List(Value("int8"), length=3), [1, 2], "a list of 2"),
        (List(Value("int32")), [[1]], r"list of list of int \(nested one level too deep\)"),
        (datasets.Array2D((2, 2), "int8"), [[1, 2], [3]], r"1 where the shape has 2 at \[1\]"),
        (datasets.Array2D((2, 2), "int8"), [1, 2], "int 1, one level of nesting too few"),
        (List(Value("int32")), np.array([1], "M8[s]"), r"an array of datetime64\[s\]"),
        (feature_values.CLASSES, 3, "the int 3, which is no id of its 3 classes"),
        (feature_values.CLASSES, "c", "the unknown class 'c'"),
    ],
)
def test_what_is_told_of_a_misfit(feature: Any, value: Any, told: str) -> None:
    with pytest.raises(Misfit, match=f"^{told}"):
        Columns({"x": feature})["x"].plain(value)


def test_an_error_names_the_place_in_a_long_list() -> None:
    value = [[0, 1, 2, 3]] * 500 + [[4, 5, -40000, 7]]
    with pytest.raises(Misfit, match=r"the int -40000, .* at \[500\]\[2\]$"):
        Columns({"x": List(List(Value("int16")))})["x"].plain(value)
