"""What was forgotten stays away: reconcile leaves it out, and the ledger says so."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from handful.experiment.forgotten import begin_forgotten, keep_forgotten, load_forgotten
from handful.storage.open import open_store
from tests.support.tiny import make

GONE = "artifact-0007"


def test_a_refresh_brings_no_forgotten_document_back(tmp_path: Path) -> None:
    tiny = make(tmp_path / "left")
    store = open_store(str(tiny.store))
    forgotten = begin_forgotten(store)
    keep_forgotten(store, [forgotten.name_of(GONE)], [])
    done = tiny.handful("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = load_forgotten(store)
    assert kept is not None
    assert GONE in kept
    assert "artifact-0008" not in kept
    for words in ((), ("--refresh",)):
        done = tiny.handful("reconcile", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        folder = tiny.store / "data/reconciliation"
        ledger = pl.read_parquet(folder / "ledger.parquet")
        assert ledger.height == 60
        row = ledger.filter(pl.col("fate") == "forgotten").to_dicts()
        assert [one["artifact_id"] for one in row] == [kept.name_of(GONE)]
        assert row[0]["row"] == "{}"
        assert row[0]["file_hash"] is None
        for name in ("labels", "listing", "ledger"):
            assert GONE not in pl.read_parquet(folder / f"{name}.parquet")["artifact_id"]
        assert not (tiny.store / "data/reconciled_artifacts" / GONE).exists()
    assert tiny.handful("reconcile").stdout.count("up to date") == 1


def test_a_line_of_label_overrides_about_a_forgotten_document_is_passed_over(
    tmp_path: Path,
) -> None:
    tiny = make(tmp_path / "overrides")
    store = open_store(str(tiny.store))
    forgotten = begin_forgotten(store)
    keep_forgotten(store, [forgotten.name_of(GONE)], [])
    lines = f"artifact_id,label\n{GONE},letter\nartifact-0008,invoice\n"
    (tiny.experiment / "overrides.csv").write_text(lines)
    done = tiny.handful("reconcile", "--set", "reconcile.LABEL_OVERRIDES=overrides.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = pl.read_parquet(tiny.store / "data/reconciliation/ledger.parquet")
    assert ledger.filter(pl.col("label_source") == "override")["artifact_id"].to_list() == [
        "artifact-0008"
    ]
