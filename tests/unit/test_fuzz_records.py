"""A record of the store that somebody edited, or that another program wrote: a record whose every
value is of its type, or words that say which is not."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import fields
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful import records
from handful.records import (
    Best,
    Compared,
    Evaluation,
    Prepared,
    Reconciled,
    Record,
    Reported,
    Run,
    Trained,
    Tuned,
)
from tests.support.fuzzing import examples, quick

MOMENT = "2026-01-01T00:00:00+00:00"
MADE: dict[str, Any] = {"made_from": {"a": "1"}, "finished_at": MOMENT}
METRICS = {"macro_f1": 0.5, "mcc": None}
EVALUATION = Evaluation("m", 0, METRICS, 3, 1.0, "hash")
RECORDS: list[Record] = [
    Reconciled(MOMENT, "hash", {"kept": 1}, {"ä": 1}, 1, 2, **MADE),
    Prepared({"a": 0}, {"m": {"train": 1}}, {"m": 0}, {"m": 0}, {"m": "h"}, "hash", **MADE),
    Tuned((Best("m", 0, 0.5, {"EPOCHS": "3"}),), **MADE),
    Trained((Run("m", 0, METRICS, 2, 10.0, "hash", 22),), **MADE),
    records.Tested((EVALUATION,), 1, (EVALUATION,), **MADE),
    Compared("m", "better", ("m", "b"), None, 3, 0, **MADE),
    Reported("key", "url", 3, **MADE),
]
ODD: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1.5,
        1e308,
        float("nan"),
        float("inf"),
        10**400,
        "",
        "x",
        "\ud800",
        MOMENT,
    ),
    *("2026-01-01", [], [1], [[]], [None], ["m"], {}, {"": None}, {"a": {}}, {"a": [1]}, [{}]),
]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in JSON: the way to it, key by key."""
    found = [at] if at else []
    steps = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else steps:
        found += places(inner, (*at, key))
    return found


def changed(value: Any, at: tuple[Any, ...], how: str, new: Any) -> None:
    for key in at[:-1]:
        value = value[key]
    if how == "replace":
        value[at[-1]] = new
    elif how == "remove":
        del value[at[-1]]
    elif isinstance(value, dict):
        value[str(new)] = new
    else:
        value.insert(at[-1], new)


def read(kind: type[Record], data: bytes) -> Record | None:
    """As the steps do: these two errors become `the record … cannot be read: …`."""
    try:
        with quick():
            return kind.from_json(data)
    except (ValueError, TypeError) as error:
        assert str(error)  # noqa: PT017
        return None


def check(found: Record) -> None:
    assert datetime.fromisoformat(found.finished_at).tzinfo
    assert all(type(text) is str for text in found.made_from.values())
    for one in fields(found):
        value = getattr(found, one.name)
        assert not isinstance(value, list)
        for inner in value if isinstance(value, tuple) else ():
            assert isinstance(inner, str | Run | Evaluation | Best)
    assert type(found).from_json(found.to_json()) == found or "NaN" in str(found.to_json())


@examples(150)
@given(st.sampled_from(RECORDS), st.data())
def test_a_record_of_another_structure_is_refused_or_whole(
    record: Record, data: st.DataObject
) -> None:
    raw = json.loads(record.to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(places(raw)))
        how = data.draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        changed(raw, at, how, deepcopy(data.draw(st.sampled_from(ODD))))
        if not places(raw):
            break
    found = read(type(record), json.dumps(raw).encode())
    if found is not None:
        check(found)


@examples(100)
@given(st.sampled_from(RECORDS), st.binary(max_size=40), st.integers(0, 200))
def test_bytes_that_are_no_record_are_refused(record: Record, new: bytes, at: int) -> None:
    whole = record.to_json()
    for data in (new, whole[:at], whole[:at] + new + whole[at:], b"[" * 100_000, b"9" * 5_000):
        found = read(type(record), data)
        if found is not None:
            check(found)


@pytest.mark.parametrize(
    ("kind", "at", "value", "words"),
    [
        (Trained, ("runs",), {}, "runs is no list"),
        (Trained, ("runs", 0, "seed"), "0", r"runs\[0\].seed is no whole number"),
        (Trained, ("runs", 0, "seed"), True, r"runs\[0\].seed is no whole number"),
        (Trained, ("runs", 0), 3, r"runs\[0\] is no JSON object"),
        (records.Tested, ("baselines", 0, "metrics", "mcc"), "x", r"metrics\['mcc'\] is no number"),
        (Prepared, ("label2id", "a"), None, r"label2id\['a'\] is no whole number"),
        (Compared, ("beats_baseline",), 1, "beats_baseline is no truth value"),
        (Compared, ("ranking",), "m", "ranking is no list"),
        (Reconciled, ("finished_at",), "2026-01-01", "finished_at is no time"),
        (Reconciled, ("made_from",), None, "made_from is no JSON object"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    kind: type[Record], at: tuple[Any, ...], value: Any, words: str
) -> None:
    raw = json.loads(next(one for one in RECORDS if type(one) is kind).to_json())
    changed(raw, at, "replace", value)
    with pytest.raises(ValueError, match=words):
        kind.from_json(json.dumps(raw).encode())


def test_whole_numbers_and_fractions_stand_for_one_another() -> None:
    raw = json.loads(RECORDS[3].to_json())
    raw["runs"][0] |= {"seed": 7.0, "seconds": 10}
    found = Trained.from_json(json.dumps(raw).encode())
    assert (found.runs[0].seed, found.runs[0].seconds) == (7, 10)
