"""`handful forget` by a query, where the documents are in the label rows (FILES_URL = none)."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from tests.support.tiny import make


def test_documents_of_the_rows_are_forgotten_and_the_others_still_found(tmp_path: Path) -> None:
    tiny = make(tmp_path / "rows", artifacts=12)
    tiny.sql(
        "ALTER TABLE labels ADD COLUMN text TEXT",
        "UPDATE labels SET text = 'the text of ' || artifact_id",
    )
    tiny.settings(FILES_URL="none", LABEL_QUERY="SELECT artifact_id, label, text FROM labels")
    done = tiny.handful("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr
    query = "SELECT artifact_id, label FROM labels WHERE artifact_id IN ('artifact-0003')"
    done = tiny.handful("forget", "--query", query, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tiny.store / "data/reconciliation"
    documents = pl.read_parquet(folder / "documents.parquet")
    assert documents.height == 11
    assert documents["nr"].to_list() == list(range(11))
    assert not any("artifact-0003" in one.decode() for one in documents["content"])
    assert tiny.handful("reconcile").stdout.count("up to date") == 1
    # What is lost of another is brought again from the rows that are left.
    lost = tiny.store / "data/reconciled_artifacts/artifact-0007"
    shutil.rmtree(lost)
    done = tiny.handful("reconcile", "--redo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (lost / "text.txt").read_text() == "the text of artifact-0007"
    assert not (tiny.store / "data/reconciled_artifacts/artifact-0003").exists()
    done = tiny.handful("reconcile", "--refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert pl.read_parquet(folder / "documents.parquet").height == 11
