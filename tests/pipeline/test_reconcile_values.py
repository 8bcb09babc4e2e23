"""Values that no type here holds: each costs itself, never the step."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from handful.labels.database import DatabaseLabels
from tests.support.reconciling import Business


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


def test_an_odd_label_stands_as_text_and_is_counted(business: Business) -> None:
    business.some()
    for name in ("one", "two"):
        business.artifact(name, None)
        business.sql("UPDATE labels SET label = CAST(x'636166e9' AS TEXT) WHERE id = ?", name)
    business.artifact("three", "caf\\xe9")  # an ordinary text that looks like it
    outcome = business.run()
    assert outcome.record.labels == {"caf\\xe9": 3, "cat": 2, "dog": 2}
    (told,) = [words for words in outcome.heard.warnings if "own text" in words]
    assert told.startswith("2 labels ")
    assert "'caf\\xe9'" in told
    # From the snapshot the same is told.
    assert [words for words in business.run().heard.warnings if "own text" in words] == [told]


def test_an_odd_id_is_an_unsafe_name(business: Business) -> None:
    business.some()
    business.columns = "CASE id WHEN 'x' THEN 9e999 ELSE id END AS artifact_id, label"
    business.row("x", "cat")
    business.file("inf/raw.txt")
    outcome = business.run()
    assert outcome.fate("inf") == ["unsafe_name"]
    assert "no ordinary value" in outcome.reason("inf")
    assert outcome.record.kept == 4


def test_odd_values_of_other_columns_cost_nothing(business: Business) -> None:
    business.some()
    business.sql("UPDATE labels SET extra = 9e999 WHERE id = 'good-0'")
    business.sql("UPDATE labels SET extra = CAST(x'ff' AS TEXT) WHERE id = 'good-1'")
    outcome = business.run()
    rows = {row["artifact_id"]: json.loads(row["row"]) for row in outcome.ledger.to_dicts()}
    assert outcome.record.kept == 4
    assert rows["good-0"] == {"extra": "inf"}
    assert rows["good-1"] == {"extra": "\\xff"}


def test_a_label_that_is_no_number_is_counted_as_no_label(
    business: Business, postgres: str
) -> None:
    business.some()
    query = (
        "SELECT 'good-0' AS artifact_id, 'NaN'::float8 AS label UNION ALL SELECT 'good-1', 1 "
        "UNION ALL SELECT 'good-2', 2 UNION ALL SELECT 'good-3', 'infinity'"
    )
    outcome = business.run(labels=DatabaseLabels(postgres, query))
    assert outcome.fate("good-0") == ["no_label"]
    assert outcome.record.fates["no_label"] == 1
    assert outcome.record.labels == {"1": 1, "2": 1, "inf": 1}


def test_a_snapshot_of_before_is_read(business: Business) -> None:
    """It has no column `kept_as_text`."""
    business.some()
    first = business.run()
    (path,) = business.folder.rglob("labels.parquet")
    pl.read_parquet(path).drop("kept_as_text").write_parquet(path, compression="zstd")
    for record in (path.with_name("reconciled.json"), path.with_name("snapshot.json")):
        told = json.loads(record.read_text())  # nor do its records name files
        record.write_text(json.dumps({k: told[k] for k in told.keys() - {"files", "checksum"}}))
    assert business.run().ledger.equals(first.ledger)
