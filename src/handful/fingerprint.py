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

from handful.layout import model_folder
from handful.model_files import encoding_identity, model_identity
from handful.records import Fingerprint, Prepared, Reconciled, Record, Tested, Trained, Tuned
from handful.settings import Settings, counted, counts_no_more, default_of
from handful.settings.secrets import counts_the_same, is_hashed
from handful.sources import function_hashes

ENCODING_LIBRARIES = ("datasets", "pyarrow", "tokenizers", "transformers")
_SHORT = 60


def of_reconcile(directory: Path, settings: Settings) -> Fingerprint:
    made_from = dict(counted(settings, "reconcile"))
    made_from |= _functions(directory, ("process_func",))
    overrides = settings.reconcile.LABEL_OVERRIDES
    if overrides:
        made_from["the content of LABEL_OVERRIDES"] = _sha256(overrides.read_bytes())
    return made_from


def of_prepare(directory: Path, settings: Settings, reconciled: Reconciled) -> Fingerprint:
    return {
        **counted(settings, "prepare"),
        **_functions(directory, ("get_dataset_features", "encode_data")),
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
        **counted(settings, "tune"),
        "[train] SEEDS": str(settings.train.SEEDS[0]),
        "[experiment] SEED": str(settings.experiment.SEED),
    }


def of_tuned(tuned: Tuned) -> Fingerprint:
    """What training takes from tuning."""
    return {
        f"what tune found for {best.model}": ", ".join(f"{k} = {v}" for k, v in best.values.items())
        for best in tuned.best
    }


def of_train(directory: Path, settings: Settings, prepared: Prepared) -> Fingerprint:
    return {
        **counted(settings, "train"),
        **_functions(directory, ("load_model", "compute_metrics")),
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
        **counted(settings, "test"),
        **_functions(directory, ("load_model", "compute_metrics")),
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
        "[train] METRIC": settings.train.METRIC,
        "[train] METRIC_GOAL": settings.train.METRIC_GOAL,
        "[experiment] SEED": str(settings.experiment.SEED),
        **measured,
        **{
            f"the predictions of {e.model}, seed {e.seed}": e.predictions_hash
            for e in tested.evaluations
        },
        "the number of looks at the test split": str(tested.looks),
        **{f"the results of {name}": _sha256(data) for name, data in baselines.items()},
    }


def of_report(settings: Settings, before: Iterable[Record]) -> Fingerprint:
    made_from = dict(counted(settings, "report"))
    for record in before:
        name = type(record).__name__.lower()
        made_from[f"what is {name}"] = _sha256(replace(record, files={}).to_json())
    return made_from


def difference(then: Fingerprint, now: Fingerprint) -> str | None:
    """The first thing that changed, in words; None if nothing did."""
    return next(iter(differences(then, now)), None)


def differences(then: Fingerprint, now: Fingerprint) -> list[str]:
    """Everything that changed, in words.

    A key that is left out is at its default, and one that counts no more changes nothing.
    """
    found = []
    for name in [*now, *(n for n in then if n not in now)]:
        before, after = then.get(name, default_of(name)), now.get(name, default_of(name))
        if before == after or (name not in now and counts_no_more(name)):
            continue
        if before is None or after is None:
            found.append(f"{name} is {'new' if before is None else 'gone'}")
        elif counts_the_same(before, after):
            continue
        elif (
            is_hashed(before)
            or is_hashed(after)
            or max(len(before), len(after)) > _SHORT
            or _is_hash(after)
        ):
            found.append(f"{name} changed")
        else:
            found.append(f"{name} changed from {before or 'nothing'} to {after or 'nothing'}")
    return found


def _functions(directory: Path, names: tuple[str, ...]) -> Mapping[str, str]:
    hashes = function_hashes(directory)
    return {f"{name} in functions.py": hashes[name] for name in names if name in hashes}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_hash(text: str) -> bool:
    return len(text) >= 32 and all(c in "0123456789abcdef" for c in text)
