"""Where the store and production would share files, and where they only look so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handful.errors import UserError
from handful.experiment.context import open_experiment
from handful.pipeline.production import production_files, refuse_overlap
from handful.progress import Silent

PLAIN = "{artifact_id}/{file}"
AWS = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
SETTINGS = """\
[experiment]
NAME = EXP
STORE = {store}
{store_keys}
[production]
DATABASE_URL = sqlite:///labels.db
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = {files}
KEY_PATTERN = {pattern}
FILES_FROM_PROD = raw.txt
{production_keys}
[train]
MODEL_NAMES = a-model
"""


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


def refused(folder: Path, **values: str) -> str:
    """Why the experiment is refused; empty if it is not."""
    directory = folder / "experiments" / "EXP"
    directory.mkdir(parents=True, exist_ok=True)
    given = {"pattern": PLAIN, "store_keys": "", "production_keys": "", **values}
    (directory / "settings.ini").write_text(SETTINGS.format(**given))
    before = sorted(folder.rglob("*"))
    found = None
    try:
        one = open_experiment(directory, (), Silent(), folder / "scratch")
        refuse_overlap(one.settings, one.store, one.directory)
    except UserError as error:
        found = error
    assert sorted(folder.rglob("*")) == before
    if found is None:
        return ""
    assert found.exit_status == 2
    assert "STORE" in found.fault.where
    assert found.fault.remedy
    return found.fault.what


OVERLAP = [
    # STORE, FILES_URL, KEY_PATTERN: below the same folder unless they begin with /.
    ("prod/files/store", "prod/files", PLAIN),
    ("prod/files", "prod/files", PLAIN),
    ("prod/files/", "prod/files/", PLAIN),
    ("store", "store/EXP", PLAIN),
    ("store", "store/EXP/data/reconciled_artifacts", PLAIN),
    ("prod/files/../files/store", "prod/./files", PLAIN),
    ("prod/files/docs/store", "prod/files", "docs/{artifact_id}/{file}"),
    ("prod/files/docs/store", "prod/files", "docs/{artifact_id}_{file}"),
    ("store", "store", PLAIN),
    ("prod/files/docs-store", "prod/files", "docs-{artifact_id}/{file}"),
    ("file://{root}/prod/files/store", "prod/files", PLAIN),
    ("link-to-files/store", "prod/files", PLAIN),
    ("prod/files/store", "link-to-files", PLAIN),
    ("prod/files/real-docs/store", "prod/files", "linked-docs/{artifact_id}/{file}"),
]
APART = [
    ("store", "prod/files", PLAIN),
    ("prod/files-store", "prod/files", PLAIN),
    ("prod", "prod/files", PLAIN),
    ("prod/EXP2", "prod/EXP", PLAIN),
    ("prod/Files/store", "prod/files", PLAIN),
    ("prod/files/store", "prod/files", "docs/{artifact_id}/{file}"),
    ("prod/files/docs2", "prod/files", "docs/{artifact_id}/{file}"),
    ("prod/files/store", "prod/files", "docs-{artifact_id}/{file}"),
    ("link-elsewhere/store", "prod/files", PLAIN),
    ("s3://prod/files", "prod/files", PLAIN),
]


def local(root: Path, place: str) -> str:
    return place.replace("{root}", str(root)) if "://" in place else str(root / "." / place)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "prod" / "files" / "real-docs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link-to-files").symlink_to(tmp_path / "prod" / "files")
    (tmp_path / "link-elsewhere").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "prod" / "files" / "linked-docs").symlink_to("real-docs")
    return tmp_path


@pytest.mark.parametrize(("store", "files", "pattern"), OVERLAP)
def test_folders_that_lie_in_one_another_are_refused(
    root: Path, store: str, files: str, pattern: str
) -> None:
    found = refused(root, store=local(root, store), files=local(root, files), pattern=pattern)
    assert "neither may lie inside the other" in found


@pytest.mark.parametrize(("store", "files", "pattern"), APART)
def test_folders_that_lie_apart_are_not(root: Path, store: str, files: str, pattern: str) -> None:
    assert not refused(root, store=local(root, store), files=local(root, files), pattern=pattern)


def test_a_database_beside_or_inside_the_store_does_no_harm(root: Path) -> None:
    """handful removes only what it wrote; the database is opened read-only wherever it lies."""
    assert not refused(root, store=str(root / "experiments"), files=str(root / "prod" / "files"))


HERE = "S3_ENDPOINT_URL = https://s3.here"
THERE = "S3_ENDPOINT_URL = https://s3.there"
IRELAND = "S3_ENDPOINT_URL = https://s3.eu-west-1.amazonaws.com"
BUCKETS = [
    # STORE, its keys, FILES_URL, its keys, KEY_PATTERN, do they overlap?
    ("s3://b/files/store", "", "s3://b/files", "", PLAIN, True),
    ("s3://b/files", "", "s3://b/files/EXP/x", "", PLAIN, True),
    ("s3://b", "", "s3://b", "", PLAIN, True),
    ("s3://b/x", "", "s3://b", "", PLAIN, True),
    ("s3://b/x", "", "s3://b", "", "docs/{artifact_id}/{file}", False),
    ("s3://b/docs", "", "s3://b", "", "docs/{artifact_id}/{file}", True),
    ("s3://b/files2", "", "s3://b/files", "", PLAIN, False),
    ("s3://b/Files", "", "s3://b/files", "", PLAIN, False),
    ("s3://store", "", "s3://b", "", PLAIN, False),
    ("s3://b/x", HERE, "s3://b", HERE + "/", PLAIN, True),
    ("s3://b/x", HERE.replace("s3", "S3") + ":443", "s3://b", HERE, PLAIN, True),
    ("s3://b/x", HERE, "s3://b", THERE, PLAIN, False),
    ("s3://b/x", HERE, "s3://b", "", PLAIN, False),
    ("s3://b/x", IRELAND, "s3://b", "", PLAIN, True),
    ("s3://b/x", "ASSUME_ROLE_ARN = arn:aws:iam::000000000000:role/r", "s3://b", "", PLAIN, True),
]  # fmt: skip


@pytest.mark.parametrize(("store", "mine", "files", "theirs", "pattern", "overlap"), BUCKETS)
def test_prefixes_of_a_bucket(
    tmp_path: Path, store: str, mine: str, files: str, theirs: str, pattern: str, overlap: bool
) -> None:
    found = refused(
        tmp_path,
        store=store,
        store_keys=mine,
        files=files,
        production_keys=theirs,
        pattern=pattern,
    )
    assert bool(found) == overlap


def test_the_server_may_come_from_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile one]\nendpoint_url = https://s3.here\n[profile two]\nendpoint_url = https://s3.there\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    places = {"store": "s3://b/x", "files": "s3://b"}
    one, two = "AWS_PROFILE = one", "AWS_PROFILE = two"
    assert refused(tmp_path, **places, store_keys=one, production_keys=one)
    assert not refused(tmp_path, **places, store_keys=one, production_keys=two)


def test_documents_of_the_label_rows_lie_nowhere(tmp_path: Path) -> None:
    directory = tmp_path / "EXP"
    directory.mkdir()
    text = SETTINGS.replace("KEY_PATTERN = {pattern}\n", "")
    (directory / "settings.ini").write_text(
        text.format(store="./none", store_keys="", files="none", production_keys="")
    )
    (directory / "functions.py").write_text("")
    experiment = open_experiment(directory, (), Silent(), tmp_path / "scratch")
    refuse_overlap(experiment.settings, experiment.store, directory)
    assert production_files(experiment.settings).url == "none"
