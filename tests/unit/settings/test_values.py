"""How the text of a value is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handful.errors import SettingsError
from handful.settings import Limit, Range, Settings, read_settings
from handful.settings.values.names import covers
from handful.settings.values.parse import Wrong
from handful.settings.values.ranges import parse_range
from handful.settings.values.types import FrozenMap, Steps

MINIMAL = """\
[production]
DATABASE_URL = sqlite:///labels.db
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = raw_text.json
[train]
MODEL_NAMES = org/model
"""
Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a minimal file with overrides."""
    folder = tmp_path / "EXP-1"
    folder.mkdir()
    (folder / "settings.ini").write_text(MINIMAL)
    return lambda *overrides: read_settings(folder, overrides)


def value(settings: Settings, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(settings, section), key)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.LEARNING_RATE=2e-5", 2e-5),
        ("train.LEARNING_RATE=.001", 0.001),
        ("train.EPOCHS=2", 2.0),
        ("train.EPOCHS=0.5", 0.5),
        ("train.BATCH_SIZE=64", 64),
        ("train.BATCH_SIZE=1e2", 100),
        ("prepare.MAX_ARTIFACTS=10_000", 10_000),
        ("prepare.MAX_ARTIFACTS=10 000", 10_000),
        ("prepare.MAX_ARTIFACTS=all", None),
        ("prepare.MAX_ARTIFACTS=", None),
        ("prepare.NUM_PROCESSES=cores", None),
        ("prepare.NUM_PROCESSES=3", 3),
        ("experiment.SEED=4294967295", 4_294_967_295),
        ("train.WARMUP=10%", 0.1),
        ("train.WARMUP=0.25", 0.25),
        ("train.EARLY_STOPPING_PATIENCE=None", None),
        ("train.EARLY_STOPPING_PATIENCE=2", 2),
        ("train.CHECKPOINT_EVERY=90s", 90.0),
        ("train.CHECKPOINT_EVERY=90m", 5_400.0),
        ("train.CHECKPOINT_EVERY=1h30m", 5_400.0),
        ("train.CHECKPOINT_EVERY=1 h 30 min", 5_400.0),
        ("train.CHECKPOINT_EVERY=24h", 86_400.0),
        ("train.CHECKPOINT_EVERY=1.5 hours", 5_400.0),
        ("train.CHECKPOINT_EVERY=500 steps", Steps(500)),
        ("train.CHECKPOINT_EVERY=1 step", Steps(1)),
        ("reconcile.PROCESS_TIMEOUT=250ms", 0.25),
        ("prepare.MAX_INSTANCE_BYTES=10MB", 10_000_000),
        ("prepare.MAX_INSTANCE_BYTES=10MiB", 10 * 1024 * 1024),
        ("prepare.MAX_INSTANCE_BYTES=1.5 gb", 1_500_000_000),
        ("prepare.MAX_INSTANCE_BYTES=4096", 4096),
        ("reconcile.MAX_FAILED=1%", Limit(0.01, True)),
        ("reconcile.MAX_FAILED=0", Limit(0, False)),
        ("reconcile.MAX_FAILED=12", Limit(12, False)),
        ("reconcile.OVERWRITE=Yes", True),
        ("reconcile.OVERWRITE=on", True),
        ("reconcile.OVERWRITE=1", True),
        ("reconcile.OVERWRITE=FALSE", False),
        ("reconcile.OVERWRITE=off", False),
        ("train.PRECISION=BF16", "bf16"),
        ("train.SEEDS=0, 1,2", (0, 1, 2)),
        ("train.SEEDS=3\n4", (3, 4)),
        ("prepare.SPLIT=80/10/10", (0.8, 0.1, 0.1)),
        ("prepare.SPLIT=80% / 10% / 10%", (0.8, 0.1, 0.1)),
        ("prepare.SPLIT=0.5/0.25/0.25", (0.5, 0.25, 0.25)),
        ("prepare.IGNORED_LABELS=not known, other", ("not known", "other")),
        ("prepare.IGNORED_LABELS=not known\nother thing,", ("not known", "other thing")),
        ('prepare.IGNORED_LABELS="a, b", c, "d ""e"""', ("a, b", "c", 'd "e"')),
        ("prepare.IGNORED_LABELS=", ()),
        ("prepare.LABEL_ALIASES=old one = new one", {"old one": "new one"}),
        ("prepare.LABEL_ALIASES=a=b\nc = d, e", {"a": "b", "c": "d, e"}),
        ("prepare.LABEL_ALIASES=x=1 = y=1", {"x=1": "y=1"}),
        ("production.FILES_FROM_PROD=a.txt, page_*.png", ("a.txt", "page_*.png")),
        ("compute.TRAIN_PROCESSES=1", 1),
    ],
)
def test_a_value_is_read_as_a_person_means_it(read: Read, setting: str, expected: Any) -> None:
    found = value(read(setting), setting.partition("=")[0])
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, FrozenMap)


@pytest.mark.parametrize(
    ("setting", "what", "remedy"),
    [
        ("train.BATCH_SIZE=0", "'0' is not a whole number of at least 1", ""),
        ("train.BATCH_SIZE=1.5", "'1.5' is not a whole number", ""),
        ("train.BATCH_SIZE=10,000", "can be read in two ways", "10_000"),
        ("train.BATCH_SIZE=many", "'many' is not a whole number", ""),
        ("train.EPOCHS=0", "'0' is not a number of at least 1e-6", ""),
        ("train.EPOCHS=0,5", "can be read in two ways", "0.5 for a half"),
        ("train.EPOCHS=nan", "'nan' is not a number", ""),
        ("train.EPOCHS=inf", "'inf' is not a number", ""),
        ("train.EPOCHS=1e999", "is not a number", ""),
        ("train.EPOCHS=", "has no value", "its default is 3"),
        ("train.LEARNING_RATE=-1e-5", "is not a number of at least 1e-38", ""),
        ("train.WARMUP=1.5", "is not a fraction from 0 to 0.9", ""),
        ("train.LABEL_SMOOTHING=100%", "is not a fraction from 0 to less than 1", ""),
        ("train.WEIGHT_DECAY=-1", "is not a number of at least 0", ""),
        ("train.CHECKPOINT_EVERY=10", "'10' has no unit", "90s"),
        ("train.CHECKPOINT_EVERY=ten minutes", "is not a duration", "1h30m"),
        ("train.CHECKPOINT_EVERY=1h2h", "is not a duration", "500 steps"),
        ("train.CHECKPOINT_EVERY=0 steps", "above zero", ""),
        ("train.CHECKPOINT_EVERY=0s", "is not a duration above zero", ""),
        ("train.CHECKPOINT_EVERY=-5m", "is not a duration", ""),
        ("prepare.MAX_INSTANCE_BYTES=10M", "is not a size", "10MB"),
        ("prepare.MAX_INSTANCE_BYTES=0", "at least one byte", ""),
        ("reconcile.MAX_FAILED=0.01", "is not a share such as 1%", "write 1%"),
        ("reconcile.MAX_FAILED=101%", "is not between 0% and 100%", ""),
        ("reconcile.MAX_FAILED=-1", "is not a share such as 1%", ""),
        ("reconcile.OVERWRITE=ja", "is neither true nor false", "true or false"),
        ("train.PRECISION=fp23", "is none of auto, fp32, bf16, fp16", "did you mean fp32?"),
        ("train.SEEDS=1, x", "'x' is not a whole number", ""),
        ("train.SEEDS=1, 1", "'1' is there twice", ""),
        ("train.SEEDS=-1", "'-1' is not a whole number", ""),
        ("train.MODEL_NAMES=a, b, a", "'a' is there twice", ""),
        ("train.MODEL_NAMES=", "the list is empty", "at least one"),
        ("prepare.SPLIT=0.8/0.1/0.2", "add up to 1.1, not to 1", ""),
        ("prepare.SPLIT=80/10/11", "add up to 101, not to 100", ""),
        ("prepare.SPLIT=80%/10%/9%", "add up to 99, not to 100", ""),
        ("prepare.SPLIT=0.9/0.1", "is not three shares", ""),
        ("prepare.SPLIT=80%/10/10", "is not three shares", ""),
        ("prepare.SPLIT=0.9/0.1/0", "leaves a split empty", ""),
        ("prepare.LABEL_ALIASES=old", "'old' is not `old = new`", ""),
        ("prepare.LABEL_ALIASES=a = b\na = c", "'a' is given twice", ""),
        ("prepare.LABEL_ALIASES=a = b\nb = c", "'a = b' ends in a label that is renamed", ""),
        ("prepare.ENCODED_DATA_DIR=../x", "no safe name of a single folder", ""),
        ("experiment.NAME=..", "no safe name of a single folder", ""),
        ("experiment.NAME=a/b", "no safe name of a single folder", ""),
        ("experiment.STORE=gs://bucket/x", "no place that handful can open", "s3://"),
        ("experiment.STORE=s3://", "no place that handful can open", ""),
        ("experiment.STORE=a\nb", "goes over several lines", ""),
        ("experiment.S3_ENDPOINT_URL=localhost:9000", "no address of a server", "http://"),
        ("production.DATABASE_URL=labels.db", "is no database URL", "sqlite:///"),
        ("production.KEY_PATTERN=docs/{file}", "must hold {artifact_id}", "{artifact_id}/{file}"),
        ("production.KEY_PATTERN={artifactid}/{file}", "must hold", "mean {artifact_id} by {artif"),
        ("production.KEY_PATTERN={file}/{file}/{artifact_id}", "again at letter 8", ""),
        ("production.KEY_PATTERN={artifact_id}{file}", "nothing parts", "put a /"),
        ("production.KEY_PATTERN={artifact_id}*/x", "nothing parts {artifact_id} from *", ""),
        ("production.KEY_PATTERN=/{artifact_id}/{file}", "begins with /", ""),
        ("production.KEY_PATTERN={artifact_id}/", "ends with /", "{file} or *"),
        ("production.KEY_PATTERN=../x/{artifact_id}/{file}", "segment '..' at letter 1", "drop it"),
        ("production.KEY_PATTERN={artifact_id}/./{file}", "segment '.' at letter 15", "drop it"),
        ("production.KEY_PATTERN=docs//{artifact_id}", "an empty segment at letter 6", "drop it"),
        ("production.KEY_PATTERN={a}/{artifact_id}/{a}", "holds {a} twice", ""),
        ("production.KEY_PATTERN={label}/{artifact_id}", "has a meaning already", ""),
        ("production.KEY_PATTERN={artifact_id}/{", "a lone { at letter 15", "[{]"),
        ("production.KEY_PATTERN={artifact_id}/{a b}", "no name at letter 15", ""),
        ("production.KEY_PATTERN={artifact_id}/**x", "no whole segment at letter 15", ""),
        ("production.KEY_PATTERN={artifact_id}/***", "no whole segment", ""),
        ("production.KEY_PATTERN=regex:(?P<id>x)", "no group named artifact_id", "regex:"),
        ("production.KEY_PATTERN=regex:(?P<artifactid>x)", "no group", "did you mean it by artif"),
        ("production.KEY_PATTERN=regex:(?P<artifact_id>x)(?=y)", "at letter 25: look-around", ""),
        ("production.KEY_PATTERN=regex:(?P<artifact_id>x)\\1", "at letter 25: backref", ""),
        ("production.KEY_PATTERN=regex:(?P<artifact_id>[z-a])", "at letter 24: invalid char", ""),
        ("production.KEY_PATTERN=regex:(?P<artifact_id>x", "at letter 7: unclosed group", ""),
        ("production.FILES_FROM_PROD=../secret", "'../secret' is no safe file name", ""),
        ("production.FILES_FROM_PROD=ok.txt, /etc/passwd", "'/etc/passwd' is no safe", ""),
        ("reconcile.FILES_ON_RESEARCH=a\\b", "is no safe file name", ""),
        ("prepare.MODEL_INPUT_FILES=raw_txt.json", "not among", "did you mean raw_text.json?"),
    ],
)
def test_a_wrong_value_is_told_with_its_remedy(
    read: Read, setting: str, what: str, remedy: str
) -> None:
    with pytest.raises(SettingsError) as error:
        read(setting)
    assert len(error.value.faults) == 1
    fault = error.value.faults[0]
    assert fault.where == f"--set {setting.partition('=')[0]}"
    assert what in fault.what
    assert remedy in fault.remedy


def test_user_keys_are_read_as_numbers_truth_or_text(read: Read) -> None:
    user = read(
        "user.DIM=128",
        "user.RATE=2e-5",
        "user.FLAG=True",
        "user.OFF=false",
        "user.POOLING=cls",
        "user.WORD=yes",
        "user.PHONE=0170 123",
        "user.PROMPT=## a = b; c",
        "user.lower=x",
        "user.EMPTY=",
    ).user
    assert user.DIM == 128
    assert isinstance(user.DIM, int)
    assert user.RATE == 2e-5
    assert user.FLAG is True
    assert user.OFF is False
    assert (user.POOLING, user.WORD, user.lower, user.EMPTY) == ("cls", "yes", "x", "")
    assert user.PHONE == "0170 123"
    assert user.PROMPT == "## a = b; c"
    assert user.values["DIM"] == 128
    with pytest.raises(AttributeError, match="did you mean POOLING"):
        _ = user.POLING
    with pytest.raises(AttributeError, match=r"add `QQQ = \.\.\.`"):
        _ = user.QQQ
    assert getattr(user, "ABSENT", 7) == 7


@pytest.mark.parametrize("key", ["1ST", "A-B", "_HIDDEN", "values"])
def test_a_user_key_must_be_an_attribute(read: Read, key: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read as settings\.user\.KEY"):
        read(f"user.{key}=1")


def test_a_limit_counts_or_shares() -> None:
    assert Limit(0.01, True).allows(1, 100)
    assert not Limit(0.01, True).allows(2, 100)
    assert Limit(0.29, True).allows(29, 100)
    assert not Limit(0.29, True).allows(30, 100)
    assert Limit(0.0, True).allows(0, 0)
    assert Limit(2, False).allows(2, 10**9)
    assert not Limit(2, False).allows(3, 10**9)
    assert (str(Limit(0.01, True)), str(Limit(5, False))) == ("1%", "5")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("LEARNING_RATE", "log 1e-5 1e-3", Range("LEARNING_RATE", "log", 1e-5, 1e-3)),
        ("WARMUP", "float 0 20%", None),
        ("WARMUP", "float 0 0.2", Range("WARMUP", "float", 0, 0.2)),
        ("EPOCHS", "INT 2, 5", Range("EPOCHS", "int", 2, 5)),
        ("BATCH_SIZE", "choice 16 32", Range("BATCH_SIZE", "choice", choices=(16, 32))),
        (
            "user.POOLING",
            "choice cls mean",
            Range("user.POOLING", "choice", choices=("cls", "mean")),
        ),
        ("user.NAME", "choice a b, c", Range("user.NAME", "choice", choices=("a b", "c"))),
        ("BATCH_SIZE", "choice 16 0", None),
        ("BATCH_SIZE", "choice 16", None),
        ("BATCH_SIZE", "choice 16 16", None),
        ("BATCH_SIZE", "float 0.5 2", None),
        ("LEARNING_RATE", "log 0 1", None),
        ("LEARNING_RATE", "log 1 0.5", None),
        ("LEARNING_RATE", "log 1", None),
        ("LEARNING_RATE", "uniform 0 1", None),
        ("EPOCHS", "int 1.5 3", None),
        ("CLASS_WEIGHTS", "float 0 1", None),
        ("AUTO_BATCH", "int 0 1", None),
    ],
)
def test_ranges(key: str, text: str, expected: Range | None) -> None:
    if expected is None:
        with pytest.raises(Wrong):
            parse_range(key, text)
    else:
        assert parse_range(key, text) == expected


@pytest.mark.parametrize(
    ("wider", "narrower", "expected"),
    [
        ("a.txt", "a.txt", True),
        ("*.txt", "a.txt", True),
        ("*.txt", "a.json", False),
        ("page_*.png", "page_1*.png", True),
        ("page_1*.png", "page_*.png", False),
        ("a?", "a*", False),
        ("a*", "a?", True),
        ("a?", "a?", True),
        ("[ab]", "[ab]", True),
        ("*", "[ab]", False),
    ],
)
def test_a_glob_covers_another(wider: str, narrower: str, expected: bool) -> None:
    assert covers(wider, narrower) is expected


def test_settings_are_frozen_hashable_and_can_be_sent_to_another_process(read: Read) -> None:
    settings = read("user.A=1", "prepare.LABEL_ALIASES=a = b", "train:org/model.EPOCHS=9")
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes
    assert again == settings
    assert again.user.A == 1
    assert again.train_for("org/model").EPOCHS == 9
    with pytest.raises(AttributeError):
        settings.train.EPOCHS = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings.prepare.LABEL_ALIASES._items = {}  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        settings.user.values["A"] = 2  # type: ignore[index]
    assert hash(settings) == hash(again)
