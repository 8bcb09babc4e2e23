"""ID_FORMAT = guid beyond reconcile: splits, comparisons, predictions, and the sample of check."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from handful.errors import DataError
from handful.experiment.context import Experiment
from handful.inference.places import find
from handful.labels.database import DatabaseLabels
from handful.pipeline.check.sample import take_sample
from handful.steps.compare import compare
from handful.steps.compare.across import Side, across
from handful.storage.open import open_source
from tests.support.compared import MADE_FROM, Compared, split_ledger
from tests.support.preparing import Bench, bench
from tests.support.progress import Recording
from tests.support.reconciling import Business

COUNT = 45
LABELS = ("invoice", "letter", "report")


def guid(number: int) -> str:
    return str(uuid.uuid5(uuid.UUID(int=0), str(number)))


def upper(number: int) -> str:
    return guid(number).upper()


def of_guids(folder: Path, spelled: str) -> Bench:
    made = bench(folder, 0)
    refill(made, spelled)
    return made


def refill(made: Bench, spelled: str) -> None:
    """The same artifacts, their ids in another spelling."""
    made.artifacts.clear()
    for number in range(COUNT):
        made.add(getattr(guid(number), spelled)(), LABELS[number % 3])


def splits(made: Bench, name: str) -> dict[str, str]:
    path = made.root / "store" / name / "data/prepared_data/full_dataset/splits.parquet"
    return {row["artifact_id"]: row["split"] for row in pq.read_table(path).to_pylist()}


@pytest.mark.slow
def test_split_from_finds_artifacts_in_any_spelling(tmp_path: Path) -> None:
    made = of_guids(tmp_path, "upper")
    made.prepare()
    theirs = {name.lower(): split for name, split in splits(made, "exp").items()}
    refill(made, "lower")
    other = {"experiment_NAME": "other", "experiment_SEED": "7", "prepare_SPLIT_FROM": "exp"}
    made.prepare(**other)
    assert splits(made, "other") != theirs, "under exact they are other artifacts"
    made.prepare(redo=True, **other, production_ID_FORMAT="guid")
    assert splits(made, "other") == theirs


def test_an_experiments_own_split_stays_when_the_format_changes(tmp_path: Path) -> None:
    made = of_guids(tmp_path, "upper")
    made.prepare()
    before = {name.lower(): split for name, split in splits(made, "exp").items()}
    refill(made, "lower")
    made.prepare(production_ID_FORMAT="guid")
    assert splits(made, "exp") == before


@pytest.mark.slow
def test_of_two_artifacts_that_become_one_what_was_trained_on_stays_so(tmp_path: Path) -> None:
    made = of_guids(tmp_path, "upper")
    for number in range(COUNT):
        made.add(guid(number), LABELS[number % 3])
    made.prepare()
    before = splits(made, "exp")
    order = ("train", "validation", "test")
    expected = {
        guid(n): min(before[guid(n)], before[upper(n)], key=order.index) for n in range(COUNT)
    }
    assert any(before[guid(n)] != before[upper(n)] for n in range(COUNT))
    refill(made, "lower")
    made.prepare(production_ID_FORMAT="guid")
    assert splits(made, "exp") == expected


def test_experiments_are_compared_on_the_same_artifacts(tmp_path: Path) -> None:
    truth = np.arange(60) % 3
    sides = []
    for name, spell in (("EXP-A", upper), ("EXP-B", guid)):
        one = Compared(tmp_path / name)
        one.model("m", truth, truth, ids=[spell(number) for number in range(60)])
        trained = [upper(0)] if name == "EXP-A" else []  # what the other calls by another name
        split_ledger(one, trained, [spell(number) for number in range(len(trained), 60)])
        opened = one.open(tmp_path / f"scratch-{name}")
        verdict = compare(opened, one.prepared, one.trained, one.tested, made_from=MADE_FROM)
        sides.append(Side(opened, one.prepared, one.tested, verdict))
    with pytest.raises(DataError, match="0 in common"):
        across(sides)
    found = across([sides[0], replace(sides[1], experiment=by_form(sides[1].experiment))])
    assert found["artifacts"] == 59
    assert found["left_out"]["trained_on_by_another"] == 1


def by_form(experiment: Experiment) -> Experiment:
    settings = experiment.settings
    production = replace(settings.production, ID_FORMAT="guid")
    return replace(experiment, settings=replace(settings, production=production))


def test_documents_to_predict_have_the_form_too(tmp_path: Path) -> None:
    business = Business(tmp_path)
    for folder in (upper(0), f"{{{guid(1)}}}", "a name", guid(0)):
        business.file(f"{folder}/raw.txt")
    exact = business.open(Recording(), tmp_path / "scratch")
    found = [one.id for one in find(exact.settings, [business.files])]
    assert sorted(found) == sorted([upper(0), f"{{{guid(1)}}}", "a name", guid(0)])
    business.settings["production"]["ID_FORMAT"] = "guid"
    other = business.open(Recording(), tmp_path / "scratch")
    documents = list(find(other.settings, [business.files]))
    assert {one.id for one in documents if not one.fault} == {guid(0), guid(1), "a name"}
    [twice] = [one for one in documents if one.fault]
    assert (twice.id, "came before" in twice.fault) == (guid(0), True)
    whole = next(one for one in documents if one.id == guid(1))
    assert whole.source.read(f"{whole.folder}raw.txt") == b"text"


def test_check_takes_its_sample_by_the_form(tmp_path: Path) -> None:
    business = Business(tmp_path)
    for number in range(6):
        business.row(f"{{{upper(number)}}}", "cat" if number % 2 else "dog")
        business.file(f"{guid(number).replace('-', '')}/raw.txt")
    business.settings["production"]["ID_FORMAT"] = "guid"
    experiment = business.open(Recording(), tmp_path / "scratch")
    production = experiment.settings.production
    labels = DatabaseLabels(production.DATABASE_URL, production.LABEL_QUERY)
    sample = take_sample(
        experiment.settings, experiment.progress, labels, open_source(production.FILES_URL), 3
    )
    assert sample.artifacts >= 3
    assert set(sample.rows["artifact_id"].to_pylist()) <= {guid(number) for number in range(6)}
    assert all(key.endswith("/raw.txt") for key in sample.listing["key"].to_pylist())
