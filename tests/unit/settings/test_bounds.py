"""Every numeric key refuses what nobody means, with its line and the range that makes sense."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from handful.errors import SettingsError
from handful.settings import read_settings
from handful.settings.declare import keys_of
from handful.settings.sections.all import SECTIONS
from handful.settings.values.parse import Wrong

DIGITS = "9" * 400
MANY = "9" * 5_000
COUNT, REAL, SHARE = ("1e308", "1e12", "-1", DIGITS), ("1e308", "-1", DIGITS), ("1.5", "-1", DIGITS)
DURATION = ("0s", "-5m", "1e308s", f"{DIGITS}s", "100000d")
SIZE = ("0", "1000000TB", f"{DIGITS}MB", "-1")
SENSELESS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "experiment.SEED": (COUNT, "from 0|of at least 0", ("0", "4294967295")),
    "reconcile.NUM_PROCESSES": ((*COUNT, "0", "4097"), "of at most 4096", ("1", "4096")),
    "reconcile.COPY_CONCURRENCY": ((*COUNT, "0"), "of at most 4096", ("1", "4096")),
    "reconcile.PROCESS_TIMEOUT": ((*DURATION, "1ms"), "from 100ms to 30d", ("0.25s", "30d")),
    "reconcile.MAX_FAILED": ((*SHARE, "101%", "1e12"), "share|100%", ("0", "100%", "5")),
    "prepare.MAX_ARTIFACTS": ((*COUNT, "0"), "of at least 1", ("1", "100000000")),
    "prepare.NUM_LABELS_THRESHOLD": (COUNT, "of at least 0", ("0", "10_000")),
    "prepare.SPLIT": (
        ("1/1e308/1", "1e-300/0.5/0.5", "0/0/0", f"{DIGITS}/1/1", f"0.8/0.1/0.{MANY}"),
        "shares|0.8/0.1/0.1",
        ("98/1/1", "0.9998/0.0001/0.0001"),
    ),
    "prepare.NUM_PROCESSES": ((*COUNT, "0"), "of at most 4096", ("1", "64")),
    "tune.TUNE_TIME": ((*DURATION, "1ms"), "from 1s to", ("10s", "3d")),
    "prepare.ENCODE_TIMEOUT": ((*DURATION, "1ms"), "from 100ms to 30d", ("0.5s", "2h")),
    "prepare.MAX_INSTANCE_BYTES": ((*SIZE, "1B", "2TB"), "from 100B to 1TB", ("4096", "10GB")),
    "prepare.WORKER_MEMORY": ((*SIZE, "1B", "1 byte"), "from 100MB to 100TB", ("500MB", "2TB")),
    "prepare.MAX_QUARANTINED": ((*SHARE, "101%"), "share|100%", ("0", "100%", "1000")),
    "train.EPOCHS": ((*REAL, "0", "1e-300"), "of at most 100000", ("0.01", "3", "5000")),
    "train.BATCH_SIZE": ((*COUNT, "0", "0.5"), "of at most 1000000", ("1", "65536")),
    # A search may try what diverges.
    "train.LEARNING_RATE": (
        (*REAL, "0", "1e-300", "1e39"),
        "of at most 1e+38",
        ("1e-7", "1", "1e37"),
    ),
    "train.HEAD_LEARNING_RATE": (
        (*REAL, "0", "1e-300", "1e39"),
        "of at most 1e+38",
        ("1e-7", "1", "1e37", "auto"),
    ),
    "train.ACTIVATIONS_KEPT": (
        (*SIZE, "0B", "2000TB"),
        "from 1B to 1000TB|one byte",
        ("1B", "1TB"),
    ),
    "train.WARMUP": ((*SHARE, "1", "100%", "99%"), "from 0 to 0.9", ("0", "50%", "0.9")),
    "train.WEIGHT_DECAY": ((*REAL, "1e39"), "of at most 1e+38", ("0", "0.3", "100")),
    "train.LABEL_SMOOTHING": ((*SHARE, "1", "100%"), "less than 1", ("0", "0.2")),
    "train.EARLY_STOPPING_PATIENCE": ((*COUNT, "0"), "of at most 100000", ("1", "50")),
    "train.MODELS_KEPT": (COUNT, "of at most 10000", ("0", "20")),
    "train.CHECKPOINT_EVERY": (
        (*DURATION, "0 steps", f"{DIGITS} steps", f"{MANY} steps", "9000000000 steps"),
        "duration|steps",
        ("1ms", "1 step", "100000 steps", "2d"),
    ),
    "train.SEEDS": (("1, 1e308", f"0, {DIGITS}", "-1"), "of at least 0", ("0, 1, 4294967295",)),
    "tune.TRIALS": ((*COUNT, "0"), "of at most 100000", ("1", "5000")),
    "tune.PARALLEL": ((*COUNT, "0", "5000"), "of at most 1024", ("1", "64")),
    "compute.TRAIN_PROCESSES": ((*COUNT, "0"), "of at most 1024", ("1", "8")),
    "sagemaker.VOLUME_SIZE_GB": ((*COUNT, "0"), "of at most 16384", ("1", "16384")),
    "sagemaker.PREPARE_INSTANCE_COUNT": ((*COUNT, "0"), "of at most 100", ("1", "100")),
    "sagemaker.TRAIN_INSTANCE_COUNT": ((*COUNT, "0"), "of at most 100", ("1", "16")),
    "sagemaker.MAX_RUNTIME": ((*DURATION, "1ms"), "from 1s to 365d", ("10m", "28d")),
    "sagemaker.MAX_COST_USD": ((*REAL, "0", "1e-300"), "of at least 0.0001", ("0.5", "100000")),
    "sagemaker.PRICE_PER_HOUR": ((*REAL, "0"), "of at least 0.0001", ("0.05", "98.32")),
    "sagemaker.KEEP_ALIVE": ((*DURATION, "1ms"), "from 1s to 365d", ("30m", "1h")),
}
"""Key → what is refused, words of the refusal (any of them), and what somebody really uses."""


def numeric_keys() -> set[str]:
    """The keys that take "9" in some form: with a unit, as a share, or alone."""
    found = set()
    for section, kind in SECTIONS.items():
        for key in keys_of(kind).values():
            for text in ("9", "9s", "9MB", "9%", "0.9", "0.8/0.1/0.1", "900MB"):
                try:
                    value = key.parser.parse(text)
                except Wrong:
                    continue
                if not isinstance(value, str | bool) and not (
                    isinstance(value, tuple) and isinstance(value[0], str)
                ):
                    found.add(f"{section}.{key.name}")
    return {name for name in found if "PATH" not in name and not name.endswith("_FILES")}


def test_the_table_knows_every_numeric_key() -> None:
    assert numeric_keys() == set(SENSELESS)


@pytest.mark.parametrize("name", SENSELESS)
def test_what_nobody_means_is_refused_with_the_range(name: str) -> None:
    section, key = name.split(".")
    parser = keys_of(SECTIONS[section])[key].parser
    refused, words, used = SENSELESS[name]
    began = time.monotonic()
    for text in (*refused, MANY, f"{MANY}s", f"{MANY}MB", f"{MANY}%", f"1e{MANY}"):
        with pytest.raises(Wrong) as raised:
            parser.parse(text)
        told = f"{raised.value.what} {raised.value.remedy}"
        if len(text) < 50 and text in refused[-2:]:
            assert any(word in told for word in words.split("|")), (text, told)
    assert time.monotonic() - began < 1.0, "thousands of digits take no time"
    for text in used:
        parser.parse(text)


def told_of(folder: Path, text: str) -> str:
    (folder / "settings.ini").write_text(text)
    with pytest.raises(SettingsError) as error:
        read_settings(folder, ())
    return str(error.value)


def test_it_is_told_with_key_and_line(tmp_path: Path) -> None:
    text = "[train]\nEPOCHS = 1e308\nWARMUP = 100%\n[prepare]\nWORKER_MEMORY = 1 byte\n"
    told = told_of(tmp_path, text)
    assert "settings.ini:2 [train] EPOCHS: '1e308' is not a number of at least 1e-6 and" in told
    assert "settings.ini:3 [train] WARMUP: '100%' is not a fraction from 0 to 0.9" in told
    assert "settings.ini:5 [prepare] WORKER_MEMORY: '1 byte' is not a size from 100MB" in told


def test_a_range_to_tune_in_is_bounded_as_the_key_is(tmp_path: Path) -> None:
    text = f"[tune]\nEPOCHS = float 1 1e308\nLEARNING_RATE = log 1e-5 {DIGITS}\n"
    told = told_of(tmp_path, text)
    assert "settings.ini:2 [tune] EPOCHS" in told
    assert "settings.ini:3 [tune] LEARNING_RATE" in told
