"""What a step is made from, and whether that has changed: by content, never by time stamps.

A fingerprint maps names that a person understands ("[train] EPOCHS", "encode_data in
functions.py", "the ledger") to values or hashes. It is taken without importing functions.py, and
without torch, transformers or datasets, so that a run with nothing to do stays fast.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from handful.experiment.model_identity import encoding_identity, model_identity
from handful.layout import model_folder
from handful.records import Fingerprint, Prepared, Reconciled, Record, Tested, Trained, Tuned
from handful.settings import (
    EVERYTHING,
    READ_BY_FUNCTIONS,
    Settings,
    Usage,
    counts_no_more,
    default_of,
    list_counted_settings,
)
from handful.settings.secrets import counts_the_same, is_hashed
from handful.user_functions.settings_usage import settings_usage
from handful.user_functions.source_hash import function_hashes

ENCODING_FUNCTIONS = ("get_dataset_features", "encode_data")
TRAINING_FUNCTIONS = ("load_model", "compute_metrics")
USAGE = "the settings that the functions read"
"""What it says is no reason of its own: the functions are."""
ENCODING_LIBRARIES = ("datasets", "pyarrow", "tokenizers", "transformers")
_FINGERPRINT_VALUE_WIDTH = 60
_USER = "[user] "


def of_reconcile(directory: Path, settings: Settings) -> Fingerprint:
    made_from = _own(directory, settings, "reconcile", ("process_func",))
    overrides = settings.reconcile.LABEL_OVERRIDES
    if overrides:
        made_from["the content of LABEL_OVERRIDES"] = _sha256(overrides.read_bytes())
    return made_from


def of_prepare(directory: Path, settings: Settings, reconciled: Reconciled) -> Fingerprint:
    return {
        **_own(directory, settings, "prepare", ENCODING_FUNCTIONS),
        "the ledger": reconciled.ledger_hash,
        **{
            f"the tokenizer and config of {model_folder(name)}": encoding_identity(name)
            for name in settings.train.MODEL_NAMES
        },
        **{f"{name}'s version": version(name) for name in ENCODING_LIBRARIES},
    }


def of_tune(directory: Path, settings: Settings, prepared: Prepared) -> Fingerprint:
    """Without `TRIALS` nothing is tuned, whatever else is set."""
    if not settings.tune.is_asked:
        return {"[tune] TRIALS": "none"}
    return {
        **of_train(directory, settings, prepared),
        **_own(directory, settings, "tune", TRAINING_FUNCTIONS),
        "[train] SEEDS": str(settings.train.SEEDS[0]),
    }


def of_tuned(tuned: Tuned) -> Fingerprint:
    """What training takes from tuning."""
    return {
        f"what tune found for {best.model}": ", ".join(f"{k} = {v}" for k, v in best.values.items())
        for best in tuned.best
    }


def of_train(directory: Path, settings: Settings, prepared: Prepared) -> Fingerprint:
    return {
        **_own(directory, settings, "train", TRAINING_FUNCTIONS),
        **{
            f"the files of {model_folder(name)}": model_identity(name)
            for name in settings.train.MODEL_NAMES
        },
        **{f"the encoded data of {name}": h for name, h in prepared.data_hash.items()},
    }


def of_test(
    directory: Path, settings: Settings, prepared: Prepared, trained: Trained
) -> Fingerprint:
    return {
        **_own(directory, settings, "test", TRAINING_FUNCTIONS),
        **{f"the encoded data of {name}": h for name, h in prepared.data_hash.items()},
        **{f"the weights of {r.model}, seed {r.seed}": r.weights_hash for r in trained.runs},
    }


def of_compare(
    settings: Settings, trained: Trained, tested: Tested, baselines: Mapping[str, bytes]
) -> Fingerprint:
    """`baselines`: the metrics.json of each."""
    measured = {
        f"the validation metrics of {r.model}, seed {r.seed}": _sha256(
            json.dumps(dict(r.metrics), sort_keys=True).encode()
        )
        for r in trained.runs
    }
    return {
        **list_counted_settings(settings, "compare"),
        **measured,
        **{
            f"the predictions of {e.model}, seed {e.seed}": e.predictions_hash
            for e in tested.evaluations
        },
        "the number of looks at the test split": str(tested.looks),
        **{f"the results of {name}": _sha256(data) for name, data in baselines.items()},
    }


def of_report(settings: Settings, before: Iterable[Record]) -> Fingerprint:
    made_from = dict(list_counted_settings(settings, "report"))
    for record in before:
        name = type(record).__name__.lower()
        made_from[f"what is {name}"] = _sha256(replace(record, files={}).to_json())
    return made_from


def difference(then: Fingerprint, now: Fingerprint) -> str | None:
    """The first thing that changed, in words; None if nothing did."""
    return next(iter(differences(then, now)), None)


def differences(then: Fingerprint, now: Fingerprint) -> list[str]:
    """Everything that changed, in words.

    A key that is left out is at its default, and one that counts no more changes nothing, nor does
    one of `[user]` that no function of the step reads.
    """
    usage = Usage.from_text(now[USAGE]) if USAGE in now else None
    found = []
    for name in [*now, *(n for n in then if n not in now)]:
        if _decides_nothing(name, then, now, usage):
            continue
        change = _change(name, then.get(name, default_of(name)), now.get(name, default_of(name)))
        if change:
            found.append(change + _since_handed_on(name, usage))
    return found


def _change(name: str, before: str | None, after: str | None) -> str:
    """What became of an entry, in words; empty if nothing did."""
    if before == after:
        return ""
    if before is None or after is None:
        return f"{name} is {'new' if before is None else 'gone'}"
    if counts_the_same(before, after):
        return ""
    hashes = is_hashed(before) or is_hashed(after) or _is_hash(after)
    if hashes or max(len(before), len(after)) > _FINGERPRINT_VALUE_WIDTH:
        return f"{name} changed"
    return f"{name} changed from {before or 'nothing'} to {after or 'nothing'}"


def _decides_nothing(name: str, then: Fingerprint, now: Fingerprint, usage: Usage | None) -> bool:
    if name == USAGE:
        return True
    if name.endswith(READ_BY_FUNCTIONS) and then.get(USAGE) != now.get(USAGE):
        return name not in then or name not in now  # the functions changed, or nobody had looked
    if name in now:
        return False
    user = name.startswith(_USER) and usage is not None
    unread = user and usage is not None and not usage.reads("user", name.removeprefix(_USER))
    return unread or counts_no_more(name)


def _since_handed_on(name: str, usage: Usage | None) -> str:
    """Why an entry counts that no function reads by its name."""
    if usage is None or not (name.startswith(_USER) or name.endswith(READ_BY_FUNCTIONS)):
        return ""
    section, _, key = name.removesuffix(READ_BY_FUNCTIONS).removeprefix("[").partition("] ")
    section = section.partition(":")[0]
    if usage.names(section, key) or not usage.why(section):
        return ""
    every = "every key" if EVERYTHING in usage.whole else f"every key of [{section}]"
    return f" ({every} counts: {usage.why(section)})"


def of_functions(directory: Path, names: tuple[str, ...], usage: Usage) -> Fingerprint:
    """Those of the five that are there, and what they read of the settings."""
    hashes = function_hashes(directory)
    found = {f"{name} in functions.py": hashes[name] for name in names if name in hashes}
    return {**found, USAGE: usage.to_text()}


def _own(
    directory: Path, settings: Settings, step: str, functions: tuple[str, ...]
) -> dict[str, str]:
    """What a step is made from by its settings and its functions."""
    usage = settings_usage(directory, functions)
    return {
        **list_counted_settings(settings, step, usage=usage),
        **of_functions(directory, functions, usage),
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_hash(text: str) -> bool:
    return len(text) >= 32 and all(c in "0123456789abcdef" for c in text)
