from __future__ import annotations

from handful.experiment.fingerprint import difference


def test_nothing_changed() -> None:
    assert difference({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) is None


def test_a_small_value_is_told_before_and_after() -> None:
    found = difference({"[train] EPOCHS": "3"}, {"[train] EPOCHS": "5"})
    assert found == "[train] EPOCHS changed from 3 to 5"


def test_a_hash_is_not_shown() -> None:
    found = difference({"the ledger": "0" * 64}, {"the ledger": "f" * 64})
    assert found == "the ledger changed"


def test_what_is_new_and_what_is_gone() -> None:
    assert difference({}, {"process_func in functions.py": "f" * 64}) == (
        "process_func in functions.py is new"
    )
    assert difference({"process_func in functions.py": "f" * 64}, {}) == (
        "process_func in functions.py is gone"
    )
