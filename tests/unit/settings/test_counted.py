"""Every key × every step: is the step redone when the key changes? What is before it stays.

Once for functions that read no settings, and once for functions that read the very key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handful.experiment import fingerprint
from handful.records import Evaluation, Fingerprint, Prepared, Reconciled, Run, Tested, Trained
from handful.settings import FrozenMap, Settings, read_settings
from handful.settings.declare import keys_of
from handful.settings.sections.all import SECTIONS
from handful.steps.prepare import model
from handful.steps.reconcile.processing.process import function_key
from handful.user_functions.settings_usage import settings_usage

REDONE: Mapping[str, str] = {
    "reconcile": "production.DATABASE_URL production.LABEL_QUERY production.FILES_URL "
    "production.KEY_PATTERN production.FILE_KEY_COLUMN production.FILE_BUCKETS "
    "production.ID_FORMAT production.FILES_FROM_PROD production.S3_ENDPOINT_URL "
    "reconcile.FILES_ON_RESEARCH reconcile.ON_LABEL_CONFLICT reconcile.ON_MISSING_FILES "
    "reconcile.LABEL_OVERRIDES",
    "prepare": "prepare.MODEL_INPUT_FILES prepare.MAX_ARTIFACTS prepare.LABEL_ALIASES "
    "prepare.IGNORED_LABELS prepare.NUM_LABELS_THRESHOLD prepare.KEEP_LABEL_IDS prepare.SPLIT "
    "prepare.SPLIT_FROM prepare.GROUP_BY prepare.NEAR_DUPLICATES prepare.NEAR_DUPLICATE_FILES "
    "prepare.MAX_INSTANCE_BYTES",
    "prepare tune compare": "experiment.SEED",
    "prepare tune train": "train.MODEL_NAMES",
    "tune train": "train.EPOCHS train.BATCH_SIZE train.MICRO_BATCHES train.CPU_KERNELS "
    "train.LEARNING_RATE train.HEAD_LEARNING_RATE train.HEAD_INIT train.CONTRASTIVE train.POOLING "
    "train.WARMUP train.WEIGHT_DECAY train.LABEL_SMOOTHING train.CLASS_WEIGHTS "
    "train.EARLY_STOPPING_PATIENCE train.PRECISION train.FINAL_DTYPE train.COMPILE train.SEEDS",
    "tune train compare": "train.METRIC train.METRIC_GOAL",
    "tune": "tune.TRIALS tune.TUNE_TIME tune.PARALLEL",
    "report": "report.SHOW_DOCUMENTS",
    "": "experiment.NAME experiment.STORE experiment.S3_ENDPOINT_URL experiment.AWS_PROFILE "
    "experiment.ASSUME_ROLE_ARN experiment.CA_BUNDLE experiment.PUBLIC_VARIABLES "
    "experiment.KMS_KEY production.LABEL_QUERY_FILE production.AWS_PROFILE "
    "production.ASSUME_ROLE_ARN production.CA_BUNDLE reconcile.OVERWRITE "
    "reconcile.NUM_PROCESSES reconcile.COPY_CONCURRENCY reconcile.PROCESS_TIMEOUT "
    "reconcile.MAX_FAILED prepare.ENCODED_DATA_DIR prepare.NUM_PROCESSES "
    "prepare.ENCODE_TIMEOUT prepare.WORKER_MEMORY prepare.MAX_QUARANTINED train.AUTO_BATCH "
    "train.GRADIENT_CHECKPOINTING train.ACTIVATIONS_KEPT train.SHARDING train.MODELS_KEPT "
    "train.CHECKPOINT_EVERY tracking.TRACKER tracking.PROJECT tracking.MODE compute.BACKEND "
    "compute.TRAIN_PROCESSES sagemaker.ROLE_ARN sagemaker.REGION sagemaker.IMAGE_URI "
    "sagemaker.SAGEMAKER_LOCAL_DATA_DIR sagemaker.VOLUME_SIZE_GB sagemaker.RECONCILE_AS_JOB "
    "sagemaker.PREPARE_INSTANCE_TYPE sagemaker.PREPARE_INSTANCE_COUNT "
    "sagemaker.TRAIN_INSTANCE_TYPE sagemaker.TRAIN_INSTANCE_COUNT sagemaker.TRAIN_INPUT_MODE "
    "sagemaker.TEST_INSTANCE_TYPE sagemaker.USE_SPOT sagemaker.MAX_RUNTIME "
    "sagemaker.MAX_COST_USD sagemaker.PRICE_PER_HOUR sagemaker.KEEP_ALIVE sagemaker.SUBNETS "
    "sagemaker.SECURITY_GROUPS sagemaker.SECRETS sagemaker.TAGS sagemaker.ENDPOINT_URL",
}
STEPS = ("reconcile", "prepare", "tune", "train", "test", "compare", "report")
RUNS = {  # of each step, the functions that it runs
    "process_func": {"reconcile"},
    "get_dataset_features": {"prepare"},
    "encode_data": {"prepare"},
    "load_model": {"tune", "train", "test"},
    "compute_metrics": {"tune", "train", "test"},
}
EXPECTED = {key: set(steps.split()) for steps, keys in REDONE.items() for key in keys.split()}
MADE: Mapping[str, Any] = {"made_from": {}, "finished_at": "2026-01-01T00:00:00+00:00"}
RECONCILED = Reconciled("2026-01-01T00:00:00+00:00", "0" * 64, {}, {}, 1, 1, **MADE)
PREPARED = Prepared({"a": 0}, {"one": {}}, {}, {}, {"one": "1" * 64}, "2" * 64, **MADE)
TRAINED = Trained((Run("one", 0, {"macro_f1": 0.5}, 1, 1.0, "3" * 64),), **MADE)
TESTED = Tested((Evaluation("one", 0, {"macro_f1": 0.5}, 1, 1.0, "4" * 64),), 1, **MADE)


def fingerprints(folder: Path, settings: Settings) -> dict[str, Fingerprint]:
    """Of each step, while what stands before it stays the same."""
    return {
        "reconcile": fingerprint.of_reconcile(folder, settings),
        "prepare": fingerprint.of_prepare(folder, settings, RECONCILED),
        "tune": fingerprint.of_tune(folder, settings, PREPARED),
        "train": fingerprint.of_train(folder, settings, PREPARED),
        "test": fingerprint.of_test(folder, settings, PREPARED, TRAINED),
        "compare": fingerprint.of_compare(settings, TRAINED, TESTED, {}),
        "report": fingerprint.of_report(settings, (RECONCILED, PREPARED, TRAINED, TESTED)),
    }


def with_functions(folder: Path, **read: str) -> Settings:
    """An experiment whose functions read so; `read`: one of the five → its body."""
    (folder / "functions.py").write_text(
        "".join(f"def {name}(settings):\n    return {read.get(name, 1)}\n" for name in RUNS)
    )
    (folder / "settings.ini").write_text(
        "[production]\nDATABASE_URL = sqlite:///labels.db\nLABEL_QUERY = SELECT 1\n"
        "FILES_URL = files\nFILES_FROM_PROD = text.txt\n"
        "[train]\nMODEL_NAMES = one\n[tune]\nTRIALS = 4\nLEARNING_RATE = log 1e-5 1e-3\n"
        "[user]\nWIDTH = 3\nDEPTH = 4\n"
    )
    return read_settings(folder)


def changed(folder: Path, settings: Settings, key: str) -> Settings:
    """`settings` with another value of `key`, as no file needs to hold it."""
    section, name = key.split(".")
    if section == "user":
        values = FrozenMap({**settings.user.values, name: 9})
        return replace(settings, user=replace(settings.user, values=values))
    value: object = "another"
    if key == "reconcile.LABEL_OVERRIDES":
        value = folder / "overrides.csv"
        (folder / "overrides.csv").write_text("artifact_id,label\n1,a\n")
    elif key == "train.MODEL_NAMES":
        value = ("one", "two")
    elif key == "train.SEEDS":
        value = (7,)
    elif key in ("tune.TRIALS", "tune.TUNE_TIME"):
        value = 5
    written = {k: v for k, v in settings.as_written.items() if k != f"[{section}] {name}"}
    changes = {section: replace(getattr(settings, section), **{name: value})}
    return replace(settings, **changes, as_written=FrozenMap(written))


def redone(folder: Path, before: Settings, after: Settings) -> set[str]:
    then, now = fingerprints(folder, before), fingerprints(folder, after)
    return {step for step in STEPS if fingerprint.differences(then[step], now[step])}


def test_the_table_holds_every_key_once() -> None:
    declared = [f"{s}.{key}" for s, kind in SECTIONS.items() for key in keys_of(kind)]
    assert sorted(declared) == sorted(key for keys in REDONE.values() for key in keys.split())


@pytest.mark.parametrize("key", EXPECTED)
def test_functions_that_read_nothing(key: str, tmp_path: Path) -> None:
    settings = with_functions(tmp_path)
    assert redone(tmp_path, settings, changed(tmp_path, settings, key)) == EXPECTED[key]


@pytest.mark.parametrize("key", [*EXPECTED, "user.WIDTH"])
def test_functions_that_read_the_key(key: str, tmp_path: Path) -> None:
    for function in ("process_func", "encode_data", "load_model"):
        settings = with_functions(tmp_path, **{function: f"settings.{key}"})
        expected = EXPECTED.get(key, set()) | RUNS[function]
        assert redone(tmp_path, settings, changed(tmp_path, settings, key)) == expected, function


@pytest.mark.parametrize("function", RUNS)
def test_a_key_of_the_user_counts_where_it_is_read(function: str, tmp_path: Path) -> None:
    settings = with_functions(tmp_path, **{function: "settings.user.WIDTH"})
    assert redone(tmp_path, settings, changed(tmp_path, settings, "user.DEPTH")) == set()
    handed = with_functions(tmp_path, **{function: "print(settings.user)"})
    for key in ("user.WIDTH", "user.DEPTH"):
        assert redone(tmp_path, handed, changed(tmp_path, handed, key)) == RUNS[function]
    assert redone(tmp_path, handed, changed(tmp_path, handed, "compute.BACKEND")) == set()


def test_settings_that_are_handed_on_whole_count_whole_and_the_reason_says_so(
    tmp_path: Path,
) -> None:
    settings = with_functions(tmp_path, encode_data="print(settings)")
    for key, steps in EXPECTED.items():
        decides = steps - {"compare"} and key != "reconcile.LABEL_OVERRIDES"
        expected = steps | ({"prepare"} if decides else set())
        assert redone(tmp_path, settings, changed(tmp_path, settings, key)) == expected, key
    after = changed(tmp_path, settings, "user.WIDTH")
    then, now = (fingerprint.of_prepare(tmp_path, one, RECONCILED) for one in (settings, after))
    assert fingerprint.differences(then, now) == [
        "[user] WIDTH changed from 3 to 9 (every key counts: encode_data in functions.py:6 passes "
        "it to print, which cannot be followed)"
    ]


def test_a_key_that_came_later_counts_there_only_where_it_is_written(tmp_path: Path) -> None:
    """Else a store that was made before it would be made anew."""
    settings = with_functions(tmp_path, encode_data="print(settings)")
    found = fingerprint.of_prepare(tmp_path, settings, RECONCILED)
    entries = sorted(name for name in found if name.endswith(fingerprint.READ_BY_FUNCTIONS))
    seen = hashlib.sha256("\n".join(entries).encode()).hexdigest()[:16]
    assert seen == "93864007d7f9699d", "a new key of settings.ini belongs into CAME_LATER"
    assert not any("CPU_KERNELS" in name or "CONTRASTIVE" in name for name in entries)


def test_one_models_section_counts_where_a_function_reads_its_key(tmp_path: Path) -> None:
    settings = with_functions(tmp_path, encode_data="settings.train_for('one').EPOCHS")
    after = replace(settings, for_models=FrozenMap({"one": FrozenMap({"EPOCHS": 5.0})}))
    longer = replace(settings, for_models=FrozenMap({"one": FrozenMap({"EPOCHS": 7.0})}))
    assert redone(tmp_path, after, longer) == {"prepare", "tune", "train"}
    assert redone(tmp_path, settings, longer) == {"prepare", "tune", "train"}
    assert redone(tmp_path, longer, settings) == {"prepare", "tune", "train"}


def test_ranges_count_where_a_function_reads_them(tmp_path: Path) -> None:
    settings = with_functions(tmp_path, load_model="settings.tune.ranges")
    fewer = replace(settings, tune=replace(settings.tune, ranges=settings.tune.ranges[:0]))
    narrow = replace(settings.tune.ranges[0], high=1e-4)
    narrower = replace(settings, tune=replace(settings.tune, ranges=(narrow,)))
    assert "tune" in redone(tmp_path, settings, fewer)
    assert redone(tmp_path, settings, narrower) == {"tune", "train", "test"}


def test_what_process_func_made_stands_until_it_reads_something_else(tmp_path: Path) -> None:
    settings = with_functions(tmp_path, process_func="settings.user.WIDTH")
    usage = settings_usage(tmp_path, ("process_func",))
    key = function_key("0" * 64, settings, usage)
    unread, read = (changed(tmp_path, settings, f"user.{name}") for name in ("DEPTH", "WIDTH"))
    assert function_key("0" * 64, unread, usage).now == key.now
    assert function_key("0" * 64, read, usage).now != key.now
    # As the builds told it that counted all of [user].
    every = "0" * 64 + "\nDEPTH=4\nWIDTH=3"
    assert key.before == hashlib.sha256(every.encode()).hexdigest()
    settings = with_functions(tmp_path, process_func="settings.train.EPOCHS")
    usage = settings_usage(tmp_path, ("process_func",))
    longer = changed(tmp_path, settings, "train.EPOCHS")
    keys = [function_key("0" * 64, one, usage) for one in (settings, longer)]
    assert keys[0].now != keys[1].now
    assert keys[0].before == keys[1].before, "what such a build made, it did not make again"


@pytest.mark.parametrize("key", ["user.WIDTH", "prepare.LABEL_ALIASES", "train.EPOCHS"])
def test_what_encode_data_made_is_encoded_again_if_it_reads_the_key(
    key: str, tmp_path: Path
) -> None:
    plan: Any = SimpleNamespace(label2id={"a": 0}, ledger_hash="0" * 64, used=())
    for body, same in (("1", True), (f"settings.{key}", False)):
        settings = with_functions(tmp_path, encode_data=body)
        usage = settings_usage(tmp_path, ("encode_data",))
        hashes = set()
        for one in (settings, changed(tmp_path, settings, key)):
            hashes.add(model._hash(one, tmp_path, "one", plan, usage))
        assert (len(hashes) == 1) == same


# What a build before this one wrote: every key of [user], nothing else that functions read.
def as_before(made_from: Fingerprint, settings: Settings) -> Fingerprint:
    user = {f"[user] {name}": str(value) for name, value in settings.user.values.items()}
    own = {
        name: text
        for name, text in made_from.items()
        if name != fingerprint.USAGE and not name.endswith(fingerprint.READ_BY_FUNCTIONS)
    }
    return {**own, **user}


def test_a_record_of_a_build_before_stands(tmp_path: Path) -> None:
    settings = with_functions(tmp_path, encode_data="settings.user.WIDTH + settings.train.EPOCHS")
    read = changed(tmp_path, settings, "user.WIDTH")
    unread = changed(tmp_path, settings, "user.DEPTH")
    gone = replace(settings, user=replace(settings.user, values=FrozenMap()))
    then = as_before(fingerprints(tmp_path, settings)["prepare"], settings)
    found = {
        name: fingerprint.differences(then, fingerprint.of_prepare(tmp_path, now, RECONCILED))
        for name, now in {"same": settings, "unread": unread, "read": read, "gone": gone}.items()
    }
    assert found == {
        "same": [],
        "unread": [],
        "read": ["[user] WIDTH changed from 3 to 9"],
        "gone": ["[user] WIDTH is gone"],
    }
