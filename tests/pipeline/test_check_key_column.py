"""`handful check` where the label rows name the files (FILE_KEY_COLUMN)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from handful.errors import DataError
from handful.labels.database import DatabaseLabels
from handful.pipeline.check.sample import SPARE, take_sample
from handful.pipeline.production import production_files
from tests.support import tiny
from tests.support.progress import Recording
from tests.support.reconciling import Business

KEYED = "SELECT artifact_id, label, artifact_id || '/text.txt' AS file_key FROM labels"


@pytest.mark.slow
def test_check_and_reconcile_of_a_whole_experiment(tmp_path: Path) -> None:
    one = tiny.make(tmp_path)
    one.settings(LABEL_QUERY=KEYED)
    keyed = ("--set", "production.FILE_KEY_COLUMN=file_key")
    done = one.handful("check", *keyed)
    assert done.returncode == 0, done.stderr
    assert "copied to a private folder" in done.stderr + done.stdout
    assert not one.store.exists()
    done = one.handful("reconcile", *keyed)
    assert done.returncode == 0, done.stderr
    done = one.handful("check", *keyed)
    assert done.returncode == 0, done.stderr
    done = one.handful("check", "--set", "production.FILE_KEY_COLUMN=nowhere")
    assert done.returncode in (0, 2)


@pytest.fixture
def business(tmp_path: Path) -> Business:
    """A thousand artifacts of two rows each; of every other one a file is not there."""
    found = Business(tmp_path)
    found.sql("ALTER TABLE labels ADD COLUMN file_key TEXT")
    found.columns = "id AS artifact_id, label, file_key"
    found.settings["production"] |= {"FILE_KEY_COLUMN": "file_key", "FILES_FROM_PROD": "1.*, 2.txt"}
    rows = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
    for file in ("1.txt", "2.txt", "2.pdf"):
        found.sql(
            f"INSERT INTO labels SELECT 'doc-' || i, CASE i % 2 WHEN 0 THEN 'dog' ELSE 'cat' END, "
            f"NULL, 0, i || '/{file}' FROM ({rows} SELECT i FROM n)"
        )
    for number in range(1_000):
        found.file(f"{number}/1.txt", f"1 of {number}")
        if number % 4 < 2:
            found.file(f"{number}/2.txt", f"2 of {number}")
    return found


class Counting:
    """Production that counts what it is asked."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.url = real.url
        self.heads: Counter[str] = Counter()

    def head(self, key: str) -> Any:
        self.heads[key] += 1
        return self._real.head(key)


def test_a_sample_holds_all_rows_of_its_artifacts_and_looks_at_few_files(
    business: Business, tmp_path: Path
) -> None:
    experiment = business.open(Recording(), tmp_path)
    production = experiment.settings.production
    labels = DatabaseLabels(production.DATABASE_URL, production.LABEL_QUERY)
    files = Counting(production_files(experiment.settings))
    sample = take_sample(experiment.settings, experiment.progress, labels, files, 3)  # type: ignore[arg-type]
    assert sample.artifacts == 3 * SPARE
    assert sample.rows.num_rows == 3 * 3 * SPARE
    assert sample.listing.num_rows == 2 * 3 * SPARE
    assert files.heads.total() <= 2 * 3 * SPARE * 10
    assert not any(key.endswith(".pdf") for key in files.heads)


def test_where_no_artifact_is_whole_the_reasons_are_told(
    business: Business, tmp_path: Path
) -> None:
    business.sql("UPDATE labels SET file_key = '../' || file_key")
    experiment = business.open(Recording(), tmp_path)
    production = experiment.settings.production
    labels = DatabaseLabels(production.DATABASE_URL, production.LABEL_QUERY)
    with pytest.raises(DataError, match="lies outside FILES_URL"):
        take_sample(
            experiment.settings,
            experiment.progress,
            labels,
            production_files(experiment.settings),
            3,
        )
