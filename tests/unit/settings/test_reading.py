"""A whole settings.ini, and what is read from it."""

from __future__ import annotations

import configparser
from dataclasses import replace
from pathlib import Path

import pytest

from handful.errors import SettingsError
from handful.settings import read_settings
from handful.settings.reading.ini import scan
from tests.support.settings_ini import MINIMAL, only_fault


def test_defaults_come_from_other_keys_and_from_the_place(folder: Path) -> None:
    (folder / "settings.ini").write_text(MINIMAL + "[experiment]\nSEED = 7\n")
    settings = read_settings(folder)
    assert settings.experiment.NAME == "EXP-0001-licences"
    assert str(folder.parent / "store") == settings.experiment.STORE
    assert f"sqlite:///{folder / 'labels.db'}" == settings.production.DATABASE_URL
    assert str(folder / "files") == settings.production.FILES_URL
    assert settings.production.KEY_PATTERN == "{artifact_id}/{file}"
    assert settings.reconcile.FILES_ON_RESEARCH == ("raw_text.json",)
    assert settings.prepare.MODEL_INPUT_FILES == ("raw_text.json",)
    assert settings.prepare.NUM_PROCESSES is None
    assert ("org/model", str(folder / "mine")) == settings.train.MODEL_NAMES
    assert settings.train.SEEDS == (7,)
    assert settings.train.EPOCHS == 3
    assert settings.tune.TRIALS is None
    assert settings.tune.ranges == ()


def test_places_are_made_absolute_and_urls_left_alone(folder: Path) -> None:
    (folder / "settings.ini").write_text(MINIMAL)
    given = {
        "production.FILES_URL": ("s3://bucket/prefix", "s3://bucket/prefix"),
        "production.DATABASE_URL": ("sqlite:////full/x.db", "sqlite:////full/x.db"),
        "experiment.STORE": ("../elsewhere", str(folder.parent / "elsewhere")),
    }
    settings = read_settings(folder, tuple(f"{k}={v}" for k, (v, _) in given.items()))
    assert given["production.FILES_URL"][1] == settings.production.FILES_URL
    assert given["production.DATABASE_URL"][1] == settings.production.DATABASE_URL
    assert given["experiment.STORE"][1] == settings.experiment.STORE
    other = read_settings(folder, ("production.DATABASE_URL=postgresql://u:p@h:1/d",))
    assert other.production.DATABASE_URL == "postgresql://u:p@h:1/d"
    options = read_settings(folder, ("production.DATABASE_URL=sqlite+pysqlite:///a.db?x=1",))
    assert f"sqlite+pysqlite:///{folder / 'a.db'}?x=1" == options.production.DATABASE_URL


def test_a_relative_directory_is_read_like_an_absolute_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "settings.ini").write_text(MINIMAL)
    monkeypatch.chdir(folder)
    assert read_settings(Path()) == read_settings(folder)


def test_the_query_may_lie_in_a_file(folder: Path) -> None:
    (folder / "labels.sql").write_text("-- ours\nSELECT ${not a variable}\n")
    text = MINIMAL.replace(
        "LABEL_QUERY = SELECT artifact_id, label FROM labels", "LABEL_QUERY_FILE = labels.sql"
    )
    (folder / "settings.ini").write_text(text)
    production = read_settings(folder).production
    assert production.LABEL_QUERY == "-- ours\nSELECT ${not a variable}"
    assert folder / "labels.sql" == production.LABEL_QUERY_FILE
    (folder / "labels.sql").write_text(" \n")
    assert "the file is empty" in only_fault(folder, text).what
    (folder / "labels.sql").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in only_fault(folder, text).what
    (folder / "labels.sql").unlink()
    fault = only_fault(folder, text)
    assert fault.where == "settings.ini:3 [production] LABEL_QUERY_FILE"
    assert "No such file" in fault.what


def test_a_query_over_lines_with_blanks_and_comments(folder: Path) -> None:
    text = MINIMAL.replace(
        "LABEL_QUERY = SELECT artifact_id, label FROM labels",
        "LABEL_QUERY =\n    SELECT id AS artifact_id,\n\n    # not part of it\n"
        "      label -- a = b\n    FROM t WHERE x = '#1' ; ",
    )
    (folder / "settings.ini").write_text(text)
    query = read_settings(folder).production.LABEL_QUERY
    assert query == "SELECT id AS artifact_id,\n\nlabel -- a = b\nFROM t WHERE x = '#1' ;"


def test_a_label_may_begin_with_a_hash(folder: Path) -> None:
    (folder / "settings.ini").write_text(f"{MINIMAL}[prepare]\nIGNORED_LABELS = C#, #1, a;b\n")
    assert read_settings(folder).prepare.IGNORED_LABELS == ("C#", "#1", "a;b")


def test_what_is_not_built_may_stand_at_its_default(folder: Path) -> None:
    text = (
        "[prepare]\nSPLIT_FROM =\nWORKER_MEMORY = none\n[tune]\nTRIALS = none\nPARALLEL = 1\n"
        "[tracking]\nTRACKER = none\nMODE = online\n[compute]\nBACKEND = local\n"
        "TRAIN_PROCESSES = 1\n[sagemaker]\nMAX_RUNTIME = 1440m\nUSE_SPOT = no\nSUBNETS =\n"
    )
    (folder / "settings.ini").write_text(MINIMAL + text)
    assert read_settings(folder).sagemaker.MAX_RUNTIME == 86_400


def test_overrides_for_one_model(folder: Path) -> None:
    (folder / "settings.ini").write_text(
        f"{MINIMAL}EPOCHS = 4\n[train:org/model]\nLEARNING_RATE = 1e-4\n"
        "[train:./mine]\nEPOCHS = 1\n"
    )
    settings = read_settings(folder, ("train:org/model.BATCH_SIZE=8",))
    first, second = (settings.train_for(name) for name in settings.train.MODEL_NAMES)
    assert (first.LEARNING_RATE, first.BATCH_SIZE, first.EPOCHS) == (1e-4, 8, 4)
    assert (second.LEARNING_RATE, second.BATCH_SIZE, second.EPOCHS) == (2e-5, 32, 1)
    assert settings.train.EPOCHS == 4
    shorter = replace(settings, train=replace(settings.train, WARMUP=0.0))
    assert shorter.train_for("org/model").WARMUP == 0
    assert shorter.train_for("org/model").LEARNING_RATE == 1e-4


def test_overrides_go_through_the_same_checks_and_win(folder: Path) -> None:
    text = f"{MINIMAL}EPOCHS = wrong\n[sagemaker]\nDOCKER_IMAGE_PATH = x\n"
    (folder / "settings.ini").write_text(text)
    overrides = (
        "train.EPOCHS=5",
        "train.EPOCHS=2",
        "sagemaker.IMAGE_URI=",
        "user.A=b=c",
        "train:org/model.EPOCHS=1",
    )
    settings = read_settings(folder, overrides)
    assert settings.train.EPOCHS == 2
    assert settings.user.A == "b=c"
    with pytest.raises(SettingsError, match=r"train:org/modle\.EPOCHS.*not among MODEL_NAMES"):
        read_settings(folder, (*overrides, "train:org/modle.EPOCHS=1"))
    for wrong in ("train.EPOCHS", "=3", "train.=3", "EPOCHS=3", ".EPOCHS=3"):
        with pytest.raises(SettingsError, match=r"not of the form section\.KEY=value"):
            read_settings(folder, (*overrides, wrong))


def test_a_model_with_dots_can_be_overridden(folder: Path) -> None:
    (folder / "settings.ini").write_text(MINIMAL.replace("org/model", "BAAI/bge-v1.5"))
    settings = read_settings(folder, ("train:BAAI/bge-v1.5.EPOCHS=7",))
    assert settings.train_for("BAAI/bge-v1.5").EPOCHS == 7


def test_variables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_TEST_EPOCHS", "7")
    monkeypatch.setenv("HANDFUL_TEST_EMPTY", "")
    (folder / "settings.ini").write_text(
        f"{MINIMAL}EPOCHS = ${{HANDFUL_TEST_EPOCHS}}\n[user]\nA = $${{B}} $$ 100%s\n"
    )
    settings = read_settings(folder)
    assert settings.train.EPOCHS == 7
    assert settings.user.A == "${B} $$ 100%s"
    for wrong in ("${", "${A", "${}", "${A-B}", "${ A }"):
        with pytest.raises(SettingsError, match=r"is no `\$\{NAME\}`"):
            read_settings(folder, (f"user.A={wrong}",))
    with pytest.raises(SettingsError, match="is empty"):
        read_settings(folder, ("experiment.STORE=${HANDFUL_TEST_EMPTY}",))


def test_a_byte_order_mark_and_carriage_returns_are_fine(folder: Path) -> None:
    (folder / "settings.ini").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert read_settings(folder).production.FILES_FROM_PROD == ("raw_text.json",)


def test_the_scan_reads_what_configparser_reads() -> None:
    text = (
        "# a comment\n[a]\nX = 1\n  Y=2 = 3\nZ =\n    one\n\n    two # not a comment\n"
        "    # a comment\n    three\n\n\n[b:c/d]\n    INDENTED = x\nEMPTY =\n; another\nLAST = é\n"
        "\tmore\n   \n[c]\n"
    )
    parser = configparser.ConfigParser(
        delimiters=("=",), interpolation=None, default_section="\0", strict=True
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    expected = {(s, k): v.strip() for s in parser.sections() for k, v in parser.items(s)}
    found = scan(text)
    assert not found.faults
    assert {(e.section, e.key): e.text for e in found.entries} == expected
    assert list(found.sections) == parser.sections()
    lines = text.split("\n")
    for entry in found.entries:
        assert lines[entry.line - 1].strip().startswith(entry.key)


def test_no_files_is_no_place(folder: Path) -> None:
    (folder / "settings.ini").write_text(MINIMAL)
    written = "production.FILES_FROM_PROD=text.txt", "reconcile.FILES_ON_RESEARCH=text.txt"
    for told in ("none", "None"):
        settings = read_settings(folder, (f"production.FILES_URL={told}", *written))
        assert settings.production.FILES_URL == "none"
        assert settings.production.holds_documents
    settings = read_settings(folder, ("production.FILES_URL=./none", *written))
    assert str(folder / "none") == settings.production.FILES_URL
    assert not settings.production.holds_documents
