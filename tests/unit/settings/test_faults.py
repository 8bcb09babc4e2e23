"""Every fault of a settings.ini, all at once, each with its line and what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from handful.errors import Fault, SettingsError
from handful.settings import read_settings
from tests.support.settings_ini import MINIMAL, faults_of, only_fault


def test_all_faults_are_told_at_once_with_their_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    text = """\
NAME = too early
[experiment]
name = x
SPLIT = 80/10/10
S3_PARENT_DIR = s3://b/p
AWS_PROFILE = ${NOT_SET_ANYWHERE}

[trian]
EPOCHS = 3
[production]
FILES_URL = files
FILES_URL = others
KEY_PATTERN = {file}
[train]
EPOCHS = 3  # three
  BATCH_SIZE = 16
MODEL_NAMES = org/model
LERNING_RATE = 1
PRECISION: fp32
a stray line
[train]
SHARDING = zero
[train:org/modl]
EPOCHS = 1
[train:org/model]
SEEDS = 1
[tune]
TRIALS = 3
LEARNING_RATE = log 1e-5 1e-3
BATCH_SIZE = choose 1 2
SEEDS = choice 1 2
EPOCH = int 1 2
[compute]
BACKEND = local
TRAIN_PROCESSES = 0
[sagemaker]
DOCKER_IMAGE_PATH = image
IMAGE_URI = other
"""
    found = faults_of(folder, text, "train.EPOCH=3", "trian.EPOCHS=1", "SEED=2", "train.WARMUP=2")
    told = [(fault.where, fault.what, fault.remedy) for fault in found]
    assert [where for where, _, _ in told] == [
        "settings.ini:1 NAME",
        "settings.ini:3 [experiment] name",
        "settings.ini:4 [experiment] SPLIT",
        "settings.ini:5 [experiment] S3_PARENT_DIR",
        "settings.ini:6 [experiment] AWS_PROFILE",
        "settings.ini:8 [trian]",
        "settings.ini:12 [production] FILES_URL",
        "settings.ini:13 [production] KEY_PATTERN",
        "settings.ini:15 [train] EPOCHS",
        "settings.ini:16 [train] BATCH_SIZE",
        "settings.ini:18 [train] LERNING_RATE",
        "settings.ini:19 [train] PRECISION",
        "settings.ini:20 [train]",
        "settings.ini:21 [train]",
        "settings.ini:22 [train] SHARDING",
        "settings.ini:23 [train:org/modl]",
        "settings.ini:26 [train:org/model] SEEDS",
        "settings.ini:30 [tune] BATCH_SIZE",
        "settings.ini:31 [tune] SEEDS",
        "settings.ini:32 [tune] EPOCH",
        "settings.ini:35 [compute] TRAIN_PROCESSES",
        "settings.ini:38 [sagemaker] IMAGE_URI",
        "settings.ini [production] DATABASE_URL",
        "settings.ini [production] FILES_FROM_PROD",
        "settings.ini [production] LABEL_QUERY",
        "--set SEED",
        "--set train.EPOCH",
        "--set trian.EPOCHS",
        "--set train.WARMUP",
    ]
    words = {where: f"{what} | {remedy}" for where, what, remedy in told}
    for where, expected in {
        "settings.ini:1 NAME": "move it to [experiment]",
        "settings.ini:3 [experiment] name": "did you mean NAME?",
        "settings.ini:4 [experiment] SPLIT": "it belongs to [prepare]",
        "settings.ini:6 [experiment] AWS_PROFILE": "NOT_SET_ANYWHERE is not set",
        "settings.ini:8 [trian]": "did you mean train?",
        "settings.ini:12 [production] FILES_URL": "stands in line 11 already",
        "settings.ini:15 [train] EPOCHS": "a comment needs a line of its own",
        "settings.ini:16 [train] BATCH_SIZE": "read as a part of EPOCHS",
        "settings.ini:18 [train] LERNING_RATE": "did you mean LEARNING_RATE?",
        "settings.ini:19 [train] PRECISION": "write PRECISION = …",
        "settings.ini:21 [train]": "began in line 14 already",
        "settings.ini:22 [train] SHARDING": "write one of them",
        "settings.ini:23 [train:org/modl]": "did you mean org/model?",
        "settings.ini:26 [train:org/model] SEEDS": "the same for all models",
        "settings.ini:30 [tune] BATCH_SIZE": "'choose 1 2' is no range",
        "settings.ini:31 [tune] SEEDS": "cannot be tuned",
        "settings.ini:32 [tune] EPOCH": "did you mean EPOCHS?",
        "settings.ini:35 [compute] TRAIN_PROCESSES": "'0' is not a whole number of at least 1",
        "settings.ini:38 [sagemaker] IMAGE_URI": "the same as DOCKER_IMAGE_PATH",
        "--set SEED": "write --set experiment.SEED=value",
        "--set train.EPOCH": "did you mean EPOCHS?",
        "--set trian.EPOCHS": "did you mean train?",
    }.items():
        assert expected in words[where], where
    parent = words["settings.ini:5 [experiment] S3_PARENT_DIR"]
    assert "STORE" in parent
    assert "NAME" in parent


@pytest.mark.parametrize("section", ["sagemaker", "nowhere", "user", "train:org/model"])
def test_the_originals_word_is_answered_wherever_it_stands(folder: Path, section: str) -> None:
    faults = faults_of(folder, f"{MINIMAL}[{section}]\nS3_PARENT_DIR = s3://b/p\n")
    assert any("STORE" in f.remedy and "NAME" in f.remedy for f in faults)


@pytest.mark.parametrize(
    ("lines", "where", "remedy"),
    [
        ("[DEFAULT]\nX = 1\n", "settings.ini:8 [DEFAULT]", "no section has defaults"),
        ("[Train]\n", "settings.ini:8 [Train]", "did you mean train?"),
        ("[train:]\n", "settings.ini:8 [train:]", "did you mean train"),
        ("[prepare] # x\n", "settings.ini:8", "a comment goes on a line of its own"),
        ("[prepare\n", "settings.ini:8", "write [section]"),
        ("[prepare]\nEPOCH = 3\n", "settings.ini:9 [prepare] EPOCH", "EPOCHS of [train]"),
        ("[prepare]\nZZZ = 3\n", "settings.ini:9 [prepare] ZZZ", "handful settings"),
        ("[prepare]\n= 3\n", "settings.ini:9 [prepare]", "indent it"),
        (
            "[train:org/model]\nMETRIC = x\n",
            "settings.ini:9 [train:org/model] METRIC",
            "in [train]",
        ),
        (
            "[train:org/model]\nSTORE = x\n",
            "settings.ini:9 [train:org/model] STORE",
            "[experiment]",
        ),
        (
            "[reconcile]\nLABEL_OVERRIDES = no.csv\n",
            "settings.ini:9 [reconcile] LABEL_OVERRIDES",
            "",
        ),
        ("[prepare]\nSPLIT = 1/1/1 ; x\n", "settings.ini:9 [prepare] SPLIT", "line of its own"),
        (
            "[prepare]\nIGNORED_LABELS = a, b # x\n",
            "settings.ini:9 [prepare] IGNORED_LABELS",
            "own",
        ),
        ("[tune]\nTRIALS = 5\n", "settings.ini:9 [tune] TRIALS", "add one"),
        ("[tune]\nBATCH_SIZE = log 8 64\n", "settings.ini:9 [tune] BATCH_SIZE", "use int"),
        ("[tune]\nEPOCHS = choice 2 2.0\n", "settings.ini:9 [tune] EPOCHS", "each once"),
        ("[user]\nA = 3 # three\n", "settings.ini:9 [user] A", "line of its own"),
        ("[experiment]\nNAME = x # y\n", "settings.ini:9 [experiment] NAME", "line of its own"),
        (
            "[prepare]\nGROUP_BY = a\n   [train]\n",
            "settings.ini:10 [prepare] [train]",
            "left margin",
        ),
    ],
)
def test_one_fault_each(folder: Path, lines: str, where: str, remedy: str) -> None:
    fault = next(f for f in faults_of(folder, MINIMAL + lines) if f.where == where)
    assert remedy in fault.remedy


SAGEMAKER = """
[experiment]
STORE = s3://bucket/prefix
[compute]
BACKEND = sagemaker
[sagemaker]
ROLE_ARN = arn:aws:iam::123456789012:role/handful
IMAGE_URI = 123456789012.dkr.ecr.eu-central-1.amazonaws.com/handful:1
PREPARE_INSTANCE_TYPE = ml.m5.xlarge
TRAIN_INSTANCE_TYPE = ml.g5.xlarge, ml.g4dn.xlarge
TEST_INSTANCE_TYPE = ml.g5.xlarge
"""


@pytest.mark.parametrize(
    ("changed", "where", "words"),
    [
        ("STORE = s3://bucket/prefix -> STORE = ./store", "[experiment] STORE", "write s3://"),
        ("STORE = s3://bucket/prefix -> SEED = 1", "[experiment] STORE", "write s3://"),
        ("IMAGE_URI = -> REGION =", "[sagemaker] IMAGE_URI", "name the container image"),
        ("role/handful -> group/x", "[sagemaker] ROLE_ARN", "arn:aws:iam"),
        (
            "= ml.m5.xlarge -> = m5.xlarge",
            "[sagemaker] PREPARE_INSTANCE_TYPE",
            "write ml.m5.xlarge",
        ),
        (", ml.g4dn.xlarge -> , what", "[sagemaker] TRAIN_INSTANCE_TYPE", "ml.m5.xlarge"),
        ("TEST_INSTANCE_TYPE = ml.g5.xlarge -> ", "[sagemaker] TEST_INSTANCE_TYPE", "name a type"),
        (
            "TEST_INSTANCE -> SAGEMAKER_LOCAL_DATA_DIR = /tmp\nTEST_INSTANCE",
            "[sagemaker] SAGEMAKER_LOCAL_DATA_DIR",
            "/opt/ml/processing",
        ),
    ],
)
def test_what_sagemaker_needs_is_asked_for(
    folder: Path, changed: str, where: str, words: str
) -> None:
    (folder / "settings.ini").write_text(MINIMAL + SAGEMAKER)
    assert read_settings(folder).compute.BACKEND == "sagemaker"
    before, _, after = changed.partition(" -> ")
    fault = only_fault(folder, MINIMAL + SAGEMAKER.replace(before, after, 1))
    assert fault.where.endswith(where)
    assert words in fault.remedy


def test_both_queries_or_none(folder: Path) -> None:
    (folder / "q.sql").write_text("SELECT 1")
    text = MINIMAL.replace("FILES_URL", "LABEL_QUERY_FILE = q.sql\nFILES_URL")
    fault = only_fault(folder, text)
    assert fault.where == "settings.ini:4 [production] LABEL_QUERY_FILE"
    assert "only one of them" in fault.what
    # An override may take the other one away.
    (folder / "settings.ini").write_text(text)
    assert read_settings(folder, ("production.LABEL_QUERY=",)).production.LABEL_QUERY == "SELECT 1"


def test_models_that_would_share_a_folder(folder: Path) -> None:
    text = MINIMAL.replace("org/model, ./mine", "./a/mine, ./b/mine")
    fault = only_fault(folder, text)
    assert fault.where == "settings.ini:7 [train] MODEL_NAMES"
    assert "share the folder 'mine'" in fault.what


def test_a_directory_whose_name_cannot_be_the_experiments(tmp_path: Path) -> None:
    folder = tmp_path / ".hidden"
    folder.mkdir()
    fault = only_fault(folder, MINIMAL)
    assert fault.where == "settings.ini [experiment] NAME"
    assert "set NAME" in fault.remedy
    assert read_settings(folder, ("experiment.NAME=fine",)).experiment.NAME == "fine"


def test_files_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    def told(directory: Path) -> str:
        with pytest.raises(SettingsError) as error:
            read_settings(directory)
        return str(error.value)

    assert "there is no such file" in told(folder)
    assert "handful init NAME" in told(folder)
    assert "there is no such directory" in told(tmp_path / "EXP-9")
    (tmp_path / "file").write_text("")
    assert "is not a directory" in told(tmp_path / "file")
    path = folder / "settings.ini"
    path.write_text("\n \n")
    assert "is empty" in told(folder)
    path.write_bytes("[train]\nMETRIC = é".encode("latin-1"))
    assert "is not UTF-8" in told(folder)
    path.write_bytes(b"[train]\n\0")
    assert "NUL" in told(folder)
    path.unlink()
    path.mkdir()
    assert "cannot be read" in told(folder)


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(MINIMAL.split("\n")),
            st.sampled_from(
                [
                    "[tune]",
                    "[user]",
                    "[",
                    "]",
                    "=",
                    " = ",
                    "  x",
                    "X = ${",
                    "[train:a]",
                    "#",
                    "K = v",
                ]
            ),
            st.text(max_size=12),
        ),
        max_size=25,
    )
)
def test_whatever_the_file_holds_the_answer_is_settings_or_faults(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "EXP-1"
        folder.mkdir()
        (folder / "settings.ini").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        faults: tuple[Fault, ...] = ()
        try:
            read_settings(folder)
        except SettingsError as error:
            faults = error.faults
        assert all(fault.what and fault.where for fault in faults)
