"""What is told about settings: the page, the fingerprints, the copy in the store. No secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from handful.errors import SettingsError
from handful.settings import (
    describe_settings,
    list_counted_model_settings,
    list_counted_settings,
    public_text,
    read_settings,
    settings_markdown,
)
from handful.settings.secrets import hide_urls, is_secret, without_login

SECRET = "hunter2-and-more"
DATABASE = "postgresql://reader:${HANDFUL_TEST_PASSWORD}@db.example:5432/labels"
FILE = """\
# old: postgresql://me:hunter2-and-more@host/db
[production]
DATABASE_URL = postgresql://reader:${HANDFUL_TEST_PASSWORD}@db.example:5432/labels
LABEL_QUERY = SELECT artifact_id,
        label
    FROM labels
FILES_URL = files
FILES_FROM_PROD = raw_text.json

[train]
# how long
MODEL_NAMES = org/model, ./mine
EPOCHS = 4
[train:./mine]
EPOCHS = 1
[user]
POOLING = cls
SERVICE = ${HANDFUL_TEST_PASSWORD}
API_KEY = hunter2-and-more
MAX_TOKENS = 128
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANDFUL_TEST_PASSWORD", SECRET)
    folder = tmp_path / "EXP-1"
    folder.mkdir()
    (folder / "settings.ini").write_text(FILE)
    return folder


# --- every key in words --------------------------------------------------------------------------


def test_every_key_is_described() -> None:
    keys = {(key.section, key.key): key for key in describe_settings()}
    assert len(keys) == len(describe_settings())
    for key in keys.values():
        assert key.meaning.endswith(".")
        assert key.unit
        assert key.default
    assert keys["train", "EPOCHS"].default == "3"
    assert keys["production", "DATABASE_URL"].required
    assert "DOCKER_IMAGE_PATH" in keys["sagemaker", "IMAGE_URI"].meaning
    required = {name for name, key in keys.items() if key.required}
    assert required == {
        ("production", "DATABASE_URL"),
        ("production", "FILES_URL"),
        ("production", "FILES_FROM_PROD"),
        ("train", "MODEL_NAMES"),
    }
    json.dumps([asdict(key) for key in keys.values()])


def test_the_page_in_docs_is_the_generated_one() -> None:
    page = Path(__file__).parents[3] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_markdown(), (
        "write it again: python -c 'from handful.settings import settings_markdown as m; "
        'open("docs/settings.md", "w").write(m())\''
    )


# --- fingerprints --------------------------------------------------------------------------------


def test_each_step_counts_what_changes_its_result(folder: Path) -> None:
    settings = read_settings(folder)
    names = {
        step: set(list_counted_settings(settings, step))
        for step in ("reconcile", "prepare", "train", "test")
    }
    assert "[production] LABEL_QUERY" in names["reconcile"]
    assert "[reconcile] FILES_ON_RESEARCH" in names["reconcile"]
    assert "[train] MODEL_NAMES" in names["prepare"] & names["train"]
    assert "[experiment] SEED" in names["prepare"]
    assert "[train] EPOCHS" in names["train"] - names["prepare"] - names["reconcile"]
    assert all("[user] POOLING" in found for found in names.values())
    assert list_counted_settings(settings, "report") == {"[report] SHOW_DOCUMENTS": "true"}
    ranked_by = {"[train] METRIC", "[train] METRIC_GOAL", "[experiment] SEED"}
    assert set(list_counted_settings(settings, "compare")) == ranked_by
    never = {
        "[reconcile] NUM_PROCESSES",
        "[reconcile] COPY_CONCURRENCY",
        "[reconcile] OVERWRITE",
        "[reconcile] PROCESS_TIMEOUT",
        "[prepare] ENCODE_TIMEOUT",
        "[prepare] MAX_QUARANTINED",
        "[production] AWS_PROFILE",
        "[train] CHECKPOINT_EVERY",
        "[experiment] NAME",
    }
    assert not never & set().union(*names.values())
    assert never < set(list_counted_settings(settings))


def test_values_are_told_in_one_way(folder: Path) -> None:
    told = list_counted_settings(
        read_settings(
            folder,
            ("prepare.LABEL_ALIASES=b = c\na = d", "train.SEEDS=1,2", "reconcile.OVERWRITE=yes"),
        )
    )
    assert told["[train] EPOCHS"] == "4.0"
    assert told["[train] SEEDS"] == "1, 2"
    assert told["[prepare] LABEL_ALIASES"] == "a = d; b = c"
    assert told["[prepare] MAX_ARTIFACTS"] == "none"
    assert told["[reconcile] OVERWRITE"] == "true"
    assert told["[reconcile] MAX_FAILED"] == "1%"
    assert told["[train:./mine] EPOCHS"] == "1.0"
    assert told["[production] FILES_URL"] == "files"
    assert told["[train] MODEL_NAMES"] == "org/model, ./mine"
    assert all(isinstance(text, str) for text in told.values())


def test_moving_the_experiment_changes_no_fingerprint(folder: Path, tmp_path: Path) -> None:
    text = FILE.replace(
        "postgresql://reader:${HANDFUL_TEST_PASSWORD}@db.example:5432/labels", "sqlite:///l.db"
    )
    (folder / "settings.ini").write_text(text)
    moved = tmp_path / "elsewhere" / "EXP-1"
    moved.mkdir(parents=True)
    (moved / "settings.ini").write_text(text)
    for step in ("reconcile", "prepare", "train", "test", "report"):
        assert list_counted_settings(read_settings(folder), step) == list_counted_settings(
            read_settings(moved), step
        )


def test_who_asks_the_database_does_not_count_but_which_one_does(folder: Path) -> None:
    def told(*overrides: str) -> str:
        return list_counted_settings(read_settings(folder, overrides), "reconcile")[
            "[production] DATABASE_URL"
        ]

    same = "production.DATABASE_URL=postgresql://you:x@db.example:5432/labels"
    other = "production.DATABASE_URL=postgresql://you:x@db.example:5432/others"
    assert told() == told(same) == "postgresql://db.example:5432/labels"
    assert told(other) == "postgresql://db.example:5432/others"


def test_free_text_from_the_environment_counts_by_its_hash(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list_counted_settings(read_settings(folder), "prepare")["[user] SERVICE"]
    assert before.startswith("${HANDFUL_TEST_PASSWORD} (sha256 ")
    monkeypatch.setenv("HANDFUL_TEST_PASSWORD", "another")
    assert list_counted_settings(read_settings(folder), "prepare")["[user] SERVICE"] != before


def test_one_model_counts_for_itself(folder: Path) -> None:
    settings = read_settings(folder)
    mine = settings.train.MODEL_NAMES[1]
    assert list_counted_model_settings(settings, mine)["[train] EPOCHS"] == "1.0"
    assert list_counted_model_settings(settings, "org/model")["[train] EPOCHS"] == "4.0"
    assert list_counted_model_settings(settings, mine)["[user] POOLING"] == "cls"
    fewer = read_settings(folder, ("train.SEEDS=5, 6", "train:./mine.EPOCHS=9"))
    assert list_counted_model_settings(fewer, "org/model") == list_counted_model_settings(
        settings, "org/model"
    )
    assert list_counted_model_settings(fewer, mine) != list_counted_model_settings(settings, mine)
    assert list_counted_settings(fewer, "train") != list_counted_settings(settings, "train")


# --- the copy in the store -----------------------------------------------------------------------


def test_the_public_text_is_the_file_with_secrets_left_out(folder: Path) -> None:
    shown = FILE.replace(SECRET, "***").replace("//reader:", "//***:").replace("//me:", "//***:")
    assert public_text(folder) == shown


def test_the_public_text_shows_what_ran(folder: Path) -> None:
    overrides = (
        "train.EPOCHS=2",
        "production.LABEL_QUERY=SELECT 1",
        "train.SEEDS=1,2",
        "prepare.LABEL_ALIASES=a = b\nc = d",
        "train:org/model.BATCH_SIZE=8",
        "user.API_KEY=hunter2-and-more",
        "experiment.STORE=s3://bucket/x",
    )
    text = public_text(folder, overrides)
    assert SECRET not in text
    assert text.count("EPOCHS") == 2
    assert "# by --set:\nEPOCHS = 2\n[train:./mine]\nEPOCHS = 1\n" in text
    assert "LABEL_QUERY = SELECT 1\nFILES_URL = files\n" in text
    assert "# how long\n" in text
    # What is kept can be read again, and means the same, when its secrets are there again.
    (folder / "settings.ini").write_text(text)
    with pytest.raises(SettingsError, match="secrets were left out") as error:
        read_settings(folder)
    missing = [fault.where.split("] ")[1] for fault in error.value.faults]
    assert missing == ["DATABASE_URL", "API_KEY"]
    again = read_settings(folder, (overrides[5], f"production.DATABASE_URL={DATABASE}"))
    (folder / "settings.ini").write_text(FILE)
    ran = read_settings(folder, overrides)
    assert list_counted_settings(again) == list_counted_settings(ran)


def test_no_secret_is_told_anywhere(folder: Path) -> None:
    literal = f"production.DATABASE_URL=postgresql://u:{SECRET}/with@sign@h/d?password={SECRET}"
    for overrides in ((), (literal,)):
        settings = read_settings(folder, overrides)
        assert SECRET not in repr(settings)
        assert SECRET not in json.dumps(dict(list_counted_settings(settings)))
        assert SECRET not in public_text(folder, overrides)
    assert SECRET in read_settings(folder).production.DATABASE_URL


@pytest.mark.parametrize(
    "setting",
    [
        "train.EPOCHS=${HANDFUL_TEST_PASSWORD}",
        "train.SEEDS=1, ${HANDFUL_TEST_PASSWORD}",
        "train.PRECISION=${HANDFUL_TEST_PASSWORD}",
        "prepare.SPLIT=${HANDFUL_TEST_PASSWORD}",
        "prepare.MODEL_INPUT_FILES=${HANDFUL_TEST_PASSWORD}",
        "prepare.LABEL_ALIASES=${HANDFUL_TEST_PASSWORD}",
        "production.FILES_FROM_PROD=../${HANDFUL_TEST_PASSWORD}",
        "production.DATABASE_URL=${HANDFUL_TEST_PASSWORD}",
        f"production.DATABASE_URL=no url u://a:{SECRET}@h",
        "experiment.S3_ENDPOINT_URL=${HANDFUL_TEST_PASSWORD}",
        f"experiment.S3_ENDPOINT_URL=https://u:{SECRET}@host",
        f"experiment.STORE=gs://u:{SECRET}@bucket",
        "experiment.NAME=/${HANDFUL_TEST_PASSWORD}",
        "experiment.ASSUME_ROLE_ARN=${HANDFUL_TEST_PASSWORD}",
        "train.MODEL_NAMES=a, ${HANDFUL_TEST_PASSWORD}, ${HANDFUL_TEST_PASSWORD}",
        f"user.API_KEY=3 # {SECRET} ${{",
        "tune.BATCH_SIZE=choice 1 ${HANDFUL_TEST_PASSWORD}",
        "tune.EPOCHS=${HANDFUL_TEST_PASSWORD}",
    ],
)
def test_no_fault_tells_a_secret(folder: Path, setting: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(folder, (setting,))
    assert SECRET not in str(error.value)


def test_colliding_or_unknown_models_from_the_environment_are_not_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_TEST_MODELS", f"./a/{SECRET}, ./b/{SECRET}")
    with pytest.raises(SettingsError) as error:
        read_settings(folder, ("train.MODEL_NAMES=${HANDFUL_TEST_MODELS}",))
    assert SECRET not in str(error.value)
    assert len(error.value.faults) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h/d", "postgresql://***:***@h/d"),
        ("postgresql://u:p@ss/w@h/d", "postgresql://***:***@h/d"),
        ("postgresql://u:${P}@h/d", "postgresql://***:${P}@h/d"),
        ("postgresql://${U}:a${P}@h/d", "postgresql://${U}:***@h/d"),
        ("https://token@h/d", "https://***@h/d"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("x://h/d?password=p&a=b&c=${C}&d", "x://h/d?password=***&a=***&c=${C}&***"),
        (
            "mssql+pyodbc:///?odbc_connect=UID%3Du;PWD%3Dp;X%3Dy",
            "mssql+pyodbc:///?odbc_connect=***;***;***",
        ),
        ("# HF_TOKEN = hf_abcdefghijklmnopqrst", "# HF_TOKEN = ***"),
        ("MAX_TOKENS = 128", "MAX_TOKENS = 128"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_passwords_are_hidden(text: str, expected: str) -> None:
    assert hide_urls(text) == expected


def test_names_of_secrets() -> None:
    secret = "PASSWORD DB_PASSWORD api_key HF_TOKEN MY_SECRET TOKEN MY_TOKEN SIGNING_KEY DB_PASS"
    secret += (
        " WEBHOOK_URL OPENAI_KEY SLACK_WEBHOOK JWT BASIC_AUTH DB_DSN CONNECTION_STRING SAS_URL"
    )
    for name in secret.split():
        assert is_secret("user", name), name
        assert not is_secret("train", name)
    harmless = "MAX_TOKENS SEP_TOKEN PAD_TOKEN KEY SECRETARY PASSAGES SORT_KEY FIRST_PASS PASS"
    for name in f"{harmless} MAX_TOKEN PRIMARY_KEY KEYWORDS AUTHOR AUTHORS TOKENIZER".split():
        assert not is_secret("user", name), name
    assert not is_secret("user", "CLASS_KEY", "3")
    assert without_login("postgresql://u:p@ss@h/d") == "postgresql://h/d"


def test_reading_needs_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom handful.settings import read_settings\n"
        f"read_settings(Path({str(folder)!r}))\n"
        "heavy = {'pydantic', 'torch', 'numpy', 'pyarrow', 'polars', 'configparser', 'boto3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
