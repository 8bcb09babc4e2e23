"""CA_BUNDLE in settings.ini: a file of certificates, of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from handful.errors import Fault, SettingsError
from handful.settings import list_counted_settings, read_settings, travelling_text

TEXT = """\
[experiment]
STORE = s3://research/experiments
{mine}
[production]
DATABASE_URL = sqlite:///labels.db
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = s3://production/files
FILES_FROM_PROD = raw_text.json
{theirs}
[train]
MODEL_NAMES = org/model
[compute]
BACKEND = {backend}
[sagemaker]
ROLE_ARN = arn:aws:iam::123456789012:role/jobs
IMAGE_URI = 123456789012.dkr.ecr.eu-central-1.amazonaws.com/a:1
PREPARE_INSTANCE_TYPE = ml.m5.xlarge
TRAIN_INSTANCE_TYPE = ml.g5.xlarge
TEST_INSTANCE_TYPE = ml.g5.xlarge
RECONCILE_AS_JOB = {as_job}
"""
SECTIONS = ("experiment", "production")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "EXP-1"
    folder.mkdir()
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    return folder


def write(folder: Path, section: str, value: str, **more: str) -> Path:
    line = f"CA_BUNDLE = {value}" if value else ""
    mine, theirs = (line, "") if section == "experiment" else ("", line)
    words = {"backend": "local", "as_job": "false", **more}
    (folder / "settings.ini").write_text(TEXT.format(mine=mine, theirs=theirs, **words))
    return folder


def fault(folder: Path) -> Fault:
    with pytest.raises(SettingsError) as error:
        read_settings(folder)
    assert error.value.exit_status == 2
    (only,) = error.value.faults
    return only


@pytest.mark.parametrize("section", SECTIONS)
def test_a_relative_path_begins_at_the_experiment(folder: Path, section: str) -> None:
    settings = read_settings(write(folder, section, "ca.pem"))
    assert folder / "ca.pem" == getattr(settings, section).CA_BUNDLE
    other = "production" if section == "experiment" else "experiment"
    assert getattr(settings, other).CA_BUNDLE is None


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "no certificate in PEM form"),
        (b"\x30\x82\x03\x01binary", "no certificate in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nQQ==\n-----END PRIVATE KEY-----\n", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n", "cannot be read ("),
    ],
)
def test_what_is_no_file_of_certificates_is_told_with_its_line(
    folder: Path, section: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (folder / "other.pem").write_bytes(content)
    found = fault(write(folder, section, "other.pem"))
    line = 3 if section == "experiment" else 9
    assert found.where == f"settings.ini:{line} [{section}] CA_BUNDLE"
    assert words in found.what
    assert found.remedy
    (folder / "other.pem").unlink(missing_ok=True)
    (folder / "other.pem").mkdir()
    assert "Is a directory" in fault(folder).what


def test_it_decides_no_result(folder: Path) -> None:
    without = list_counted_settings(read_settings(write(folder, "production", "")))
    steps = ("reconcile", "prepare", "tune", "train", "test", "report")
    for section in SECTIONS:
        settings = read_settings(write(folder, section, "ca.pem"))
        for step in steps:
            assert not any("CA_BUNDLE" in name for name in list_counted_settings(settings, step))
        assert {n for n, v in list_counted_settings(settings).items() if without[n] != v} == {
            f"[{section}] CA_BUNDLE"
        }


@pytest.mark.parametrize("section", SECTIONS)
def test_it_stays_at_home_when_a_job_is_sent(folder: Path, section: str) -> None:
    text = travelling_text(write(folder, section, "ca.pem", backend="sagemaker"), (), {})
    assert "CA_BUNDLE" not in text


def test_a_job_that_would_need_it_is_refused(folder: Path) -> None:
    found = fault(write(folder, "production", "ca.pem", backend="sagemaker", as_job="true"))
    assert found.where.endswith("[production] CA_BUNDLE")
    assert "does not travel" in found.what
    assert "AWS_CA_BUNDLE" in found.remedy
    read_settings(write(folder, "experiment", "ca.pem", backend="sagemaker", as_job="true"))
