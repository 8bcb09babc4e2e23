from __future__ import annotations

import pytest

from handful import layout
from handful.errors import SettingsError
from handful.records import Reconciled, Run, Trained

MOMENT = "2026-01-01T00:00:00+00:00"


def test_a_record_survives_json() -> None:
    run = Run("m/x", 0, {"macro_f1": 0.5}, 2, 10.0, "abc", 22)
    trained = Trained(made_from={"a": "1"}, finished_at="2026-01-01T00:00:00+00:00", runs=(run,))
    again = Trained.from_json(trained.to_json())
    assert again == trained
    assert again.runs[0] == run


def test_an_older_handful_reads_a_newer_record() -> None:
    record = Reconciled(
        made_from={},
        finished_at=MOMENT,
        snapshot_at=MOMENT,
        ledger_hash="z",
        fates={"kept": 1},
        labels={"ä": 1},
        kept=1,
        copied=0,
    )
    newer = record.to_json().replace(b"{", b'{"from_the_future": [1], ', 1)
    assert Reconciled.from_json(newer) == record


def test_what_is_no_record_is_told() -> None:
    with pytest.raises(TypeError):
        Reconciled.from_json(b"{}")
    with pytest.raises(ValueError, match="Expecting value"):
        Reconciled.from_json(b"")


def test_model_folders() -> None:
    assert layout.model_folder("org/name") == "org--name"
    assert layout.model_folder("/somewhere/models/mini") == "mini"
    assert layout.model_folder("./models/mini/") == "mini"
    assert layout.model_folder("s3://bucket/models/mini") == "mini"
    with pytest.raises(SettingsError, match="share the folder 'mini'"):
        layout.check_model_folders(("./a/mini", "./b/mini"))
