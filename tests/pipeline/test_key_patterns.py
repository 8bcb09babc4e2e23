"""Whole runs on buckets that are laid out as other people lay them out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import polars as pl
import pytest

from handful import layout
from handful.errors import DataError, UserError
from handful.labels.database import DatabaseLabels
from handful.pipeline.check.sample import Sample, take_sample
from handful.steps.prepare import prepare
from handful.storage.open import open_source
from tests.support.progress import Recording
from tests.support.reconciling import PROCESS, Business, Outcome
from tests.support.servers import S3Server

FUNCTIONS = """
from datasets import Features, Sequence, Value


def get_dataset_features():
    return Features({"input_ids": Sequence(Value("int32"))})


def encode_data(instance):
    ((name, place),) = instance.items()
    assert isinstance(place, list) == ("*" in name), place
    found, *others = place if isinstance(place, list) else [place]
    assert not others or instance.id == "a0"
    return {"input_ids": list(found.read_bytes())}
"""
LAYOUTS = {
    # pattern: (key of the artifact, FILES_FROM_PROD)
    "*/*/*/{artifact_id}/*_{file}": ("2024/05/{day}/{id}/1_body.eml", "body.eml"),
    "{artifact_id}.pdf": ("{id}.pdf", "*.pdf"),
    "{artifact_id}.{file}": ("{id}.pdf", "pdf"),
    "{tenant}/**/{artifact_id}/{artifact_id}.*": ("t-{day}/in/box/{id}/{id}.txt", "*.txt"),
    "**/{artifact_id}_{file}": ("a/{day}/{id}_text.txt", "text.txt"),
    r"regex:(?:.*/)?v\d+-(?P<artifact_id>[0-9a-z_]+)\.(?P<file>txt)": ("in/v{day}-{id}.txt", "txt"),
}


def fill(business: Business, pattern: str, artifacts: int = 40) -> None:
    key, wanted = LAYOUTS[pattern]
    business.columns = "id AS artifact_id, label"
    business.settings["production"] |= {"KEY_PATTERN": pattern, "FILES_FROM_PROD": wanted}
    for number in range(artifacts):
        one = f"art_{number}"
        business.row(one, "cat" if number % 2 else "dog")
        day = 10 + number % 10
        words = " ".join(str(hash((number, n)) % 10_000) for n in range(60))
        business.file(key.format(id=one, day=day), f"text {number}: {words}")
    business.file("README", "no file of any artifact")


def prepared(business: Business, outcome: Outcome) -> pl.DataFrame:
    """Run prepare on what reconcile left; its splits."""
    with tempfile.TemporaryDirectory() as scratch:
        experiment = business.open(Recording(), Path(scratch))
        prepare(experiment, outcome.record, made_from={})
        path = Path(scratch) / "splits.parquet"
        experiment.store.fetch("data/prepared_data/full_dataset/splits.parquet", path)
        return pl.read_parquet(path, memory_map=False)


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


@pytest.mark.parametrize("pattern", list(LAYOUTS)[:4])
@pytest.mark.slow
def test_reconcile_and_prepare_on_a_layout(business: Business, pattern: str) -> None:
    business.functions = FUNCTIONS
    business.settings["prepare"] = {"NUM_PROCESSES": "1", "NEAR_DUPLICATES": "ignore"}
    fill(business, pattern)
    outcome = business.run()
    assert dict(outcome.record.fates) == {"kept": 40}
    splits = prepared(business, outcome)
    assert splits.height == 40
    assert set(splits["split"]) == {"train", "validation", "test"}


_FIRST, *_OTHERS = LAYOUTS


@pytest.mark.parametrize(
    "pattern", [_FIRST, *(pytest.param(one, marks=pytest.mark.slow) for one in _OTHERS)]
)
@pytest.mark.slow
def test_reconcile_from_a_bucket(business: Business, s3_server: S3Server, pattern: str) -> None:
    fill(business, pattern, 12)
    upload(business, s3_server)
    assert dict(business.run().record.fates) == {"kept": 12}
    # Nothing changed, so nothing is copied.
    assert business.run(refresh=True).record.copied == 0


def upload(business: Business, server: S3Server) -> None:
    """Production's directory to its bucket."""
    place = server.place("handful-production")
    business.settings["production"] |= {
        "FILES_URL": place,
        "S3_ENDPOINT_URL": server.endpoint_url,
    }
    bucket, _, prefix = place[5:].partition("/")
    for path in business.files.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(business.files)}"
            server.client().put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def sampled(business: Business) -> Sample:
    """What `handful check` takes of production."""
    with tempfile.TemporaryDirectory() as scratch:
        experiment = business.open(Recording(), Path(scratch))
        settings = experiment.settings.production
        labels = DatabaseLabels(settings.DATABASE_URL, settings.LABEL_QUERY)
        return take_sample(
            experiment.settings, experiment.progress, labels, open_source(settings.FILES_URL), 3
        )


def listing(outcome: Outcome) -> pl.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "listing.parquet"
        outcome.store.fetch(layout.LISTING, path)
        return pl.read_parquet(path, memory_map=False)


def rows(outcome: Outcome) -> dict[str, object]:
    return {r["artifact_id"]: json.loads(r["row"]) for r in outcome.ledger.to_dicts()}


def test_other_names_go_into_the_row(business: Business) -> None:
    business.columns = "id AS artifact_id, label, extra"
    business.functions += PROCESS
    business.settings["production"] |= {
        "KEY_PATTERN": "{tenant}/{day}/{artifact_id}/{file}",
        "FILES_FROM_PROD": "*.txt",
    }
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "truth.json"
    for number, one in enumerate(["a", "b", "c", "none"]):
        business.row(one, "cat" if number % 2 else "dog", extra=number)
    business.file('ac"me é/05/a/raw.txt')
    business.file("t2/06/b/raw.txt", "1")
    business.file("t2/05/b/more.txt", "2")
    business.file("t9/05/b/not-copied.png", "2")
    business.file("t2/07/c/raw.txt", "3")
    business.file("t2/07/d/raw.txt", "4")
    outcome = business.run()
    assert rows(outcome) == {
        "a": {"extra": 0, "tenant": 'ac"me é', "day": "05"},
        "b": {"extra": 1, "tenant": "t2", "day": ["05", "06"]},
        "c": {"extra": 2, "tenant": "t2", "day": "07"},
        "d": {"tenant": "t2", "day": "07"},
        "none": {"extra": 3, "tenant": None, "day": None},
    }
    truth = json.loads(outcome.store.read(layout.artifact_file("b", "truth.json")))
    assert truth["row"].items() >= {"extra": 1, "tenant": "t2", "day": ["05", "06"]}.items()
    assert listing(outcome).columns == ["artifact_id", "file", "key", "size", "etag", "names"]
    business.file("t7/07/c/not-copied.png")
    assert business.run(refresh=True).record.ledger_hash == outcome.record.ledger_hash


def test_a_listing_without_other_names_is_as_it_was(business: Business) -> None:
    business.some()
    outcome = business.run()
    assert listing(outcome).columns == ["artifact_id", "file", "key", "size", "etag"]
    assert rows(outcome)["good-0"] == {"extra": 0}


def test_group_by_a_name_of_the_pattern(tmp_path: Path) -> None:
    business = Business(tmp_path)
    business.functions = FUNCTIONS
    business.columns = "id AS artifact_id, label"
    business.settings["production"] |= {
        "KEY_PATTERN": "{tenant}/{artifact_id}/{file}",
        "FILES_FROM_PROD": "*.txt",
    }
    business.settings["prepare"] = {
        "NUM_PROCESSES": "1",
        "NEAR_DUPLICATES": "ignore",
        "GROUP_BY": "tenant",
    }
    for number in range(60):
        business.row(f"a{number}", "cat" if number % 2 else "dog")
        business.file(f"t{number // 4}/a{number}/raw.txt", f"{number}")
    business.file("t1/a0/more.txt", "of two tenants")
    outcome = business.run()
    business.settings["prepare"]["GROUP_BY"] = "tenent"
    with pytest.raises(UserError, match="nor KEY_PATTERN such a name") as caught:
        prepared(business, outcome)
    assert "did you mean 'tenant'" in str(caught.value)
    business.settings["prepare"]["GROUP_BY"] = "tenant"
    splits = prepared(business, outcome)
    tenant = pl.col("artifact_id").str.strip_prefix("a").cast(pl.Int64) // 4
    apart = splits.group_by(tenant=tenant).agg(
        pl.col("split").n_unique(), pl.col("group").n_unique()
    )
    assert apart.filter((pl.col("split") != 1) | (pl.col("group") != 1)).is_empty()
    group = dict(splits.select("artifact_id", "group").iter_rows())
    assert group["a0"] == group["a1"] == group["a5"] != group["a9"]


def test_a_name_that_is_a_column_too_is_refused_before_the_listing(business: Business) -> None:
    business.some()
    business.settings["production"]["KEY_PATTERN"] = "{extra}/{artifact_id}/{file}"
    with pytest.raises(UserError, match="'extra', and the label rows have a column") as caught:
        business.run()
    assert "another name" in str(caught.value)


def test_two_keys_that_read_as_one_file_are_chosen_by_nobody(business: Business) -> None:
    business.settings["production"]["KEY_PATTERN"] = "*/*/*/{artifact_id}/{file}"
    for number in range(4):
        business.row(f"good-{number}", "cat" if number % 2 else "dog", f"h{number}")
        business.file(f"2024/05/17/good-{number}/raw.txt")
    for day in ("17", "18"):
        business.file(f"2024/05/{day}/twice/raw.txt")
        business.file(f"2024/05/{day}/good-1/not-copied.txt")
    business.row("twice", "cat", "t")
    outcome = business.run()
    assert outcome.fate("twice") == ["ambiguous_key"]
    assert "'2024/05/17/twice/raw.txt', '2024/05/18/twice/raw.txt'" in outcome.reason("twice")
    assert outcome.record.kept == 4


def test_one_key_that_two_artifacts_claim_is_given_to_neither(business: Business) -> None:
    business.settings["production"]["KEY_PATTERN"] = "**/{artifact_id}/{file}"
    for number in range(4):
        business.artifact(f"good-{number}", "cat" if number % 2 else "dog")
    for one in ("outer", "inner"):
        business.row(one, "cat", one)
    business.settings["production"]["FILES_FROM_PROD"] = "*raw.txt"
    business.file("x/outer/inner/raw.txt")
    outcome = business.run()
    for one in ("outer", "inner"):
        assert outcome.fate(one) == ["ambiguous_key"]
        assert (
            "'x/outer/inner/raw.txt' can be read as a file of 'inner', 'outer'"
            in outcome.reason(one)
        )
    assert outcome.record.kept == 4


@pytest.mark.parametrize(
    ("key", "pattern", "hint"),
    [
        ("2024/05/{day}/{id}/raw.txt", "x/{artifact_id}/{file}", "*/*/*/{artifact_id}/{file}"),
        ("2024/05/{day}/{id}/raw.txt", "{artifact_id}/{file}", "*/*/*/{artifact_id}/{file}"),
        ("{id}.pdf", "{artifact_id}/{file}", "{artifact_id}.pdf"),
        ("scans/doc_{id}_p1.png", "{artifact_id}/{file}", "scans/doc_{artifact_id}_p1.png"),
        ("{id}/raw.txt", "{artifact_id}.pdf", "{artifact_id}/{file}"),
        ("{day}_{id}.txt", "{artifact_id}/{file}", "*_{artifact_id}.txt"),
        ("{id}/raw.txt", "**/{artifact_id}.txt", "{artifact_id}/{file}"),
        ("in/{file}/raw.txt", "x/{artifact_id}/{file}", None),
    ],
)
@pytest.mark.slow
def test_an_error_of_no_match_says_which_pattern_would_have(
    business: Business, key: str, pattern: str, hint: str | None
) -> None:
    business.columns = "id AS artifact_id, label"
    business.settings["production"] |= {"KEY_PATTERN": pattern, "FILES_FROM_PROD": "*"}
    keys = []
    for number in range(30):
        business.row(f"art-{number:02}", "cat" if number % 2 else "dog")
        keys.append(key.format(id=f"art-{number:02}", day=10 + number, file=f"other{number}"))
        business.file(keys[-1], keys[-1])
    with pytest.raises(DataError) as caught:
        business.run()
    told = str(caught.value)
    assert "'art-00', 'art-01', 'art-02'" in told
    assert sum(f"'{one}'" in told for one in keys) >= 3
    if hint is None:
        assert "reads" not in told
    else:
        assert f"KEY_PATTERN = {hint} reads 30 of 30 keys" in told
        business.settings["production"]["KEY_PATTERN"] = hint
        assert business.run(refresh=True).record.kept == 30
    business.settings["production"]["KEY_PATTERN"] = pattern
    with pytest.raises(DataError) as caught:
        sampled(business)
    told = str(caught.value)
    assert f"among 30 label rows and {0 if pattern[0] == 'x' else 30} files" in told
    assert "200,000" not in told
    assert hint is None or f"KEY_PATTERN = {hint} reads 30 of 30 keys" in told


@pytest.mark.parametrize("pattern", LAYOUTS)
def test_check_finds_its_sample_by_any_pattern(business: Business, pattern: str) -> None:
    fill(business, pattern)
    sample = sampled(business)
    assert sample.artifacts >= 3


def test_files_by_another_name_are_named(business: Business) -> None:
    business.settings["production"] |= {"KEY_PATTERN": "{artifact_id}.pdf"}
    for number in range(3):
        business.row(f"a{number}", "cat" if number % 2 else "dog")
        business.file(f"a{number}.pdf")
    with pytest.raises(DataError, match=r"production lacks 'raw\.txt'") as caught:
        business.run()
    assert "its files are named 'a0.pdf'" in str(caught.value)
    assert "a glob such as *.pdf" in str(caught.value)
