"""The probes in the task "test": each is its model with a fitted head, whole in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.errors import Absent, Damaged, HandfulError, Locked, StepError
from handful.experiment.context import Experiment
from handful.files import checksums
from handful.layout import FINAL_RECORD, model_folder
from handful.progress import Silent
from handful.records import Split
from handful.records.moments import current_moment
from handful.settings import list_counted_model_settings
from handful.storage.base import Store
from handful.training.calls import settings_for
from handful.training.data.collate import Collator
from handful.training.data.collation import Trial, collation, give_padding_token
from handful.training.data.lengths import find_text_token_limit, read_encoded_lengths
from handful.training.data.splits import SplitData, open_splits
from handful.training.evaluation.baselines import Scorer
from handful.training.evaluation.features import Features, Frozen, features, remove_other_features
from handful.training.evaluation.metrics import Metrics, replace_non_finite_metrics
from handful.training.evaluation.probe import Probe, fit_probe_by_metric
from handful.training.loop import runtime
from handful.training.loop.process_group import Team
from handful.training.model.final import encoding_functions, save_final, versions
from handful.training.model.head_start import Headed, find_classifier_head
from handful.training.model.load import LOAD_MODEL, Built, build, find_model, load_tokenizer
from handful.training.model.pooling import MEAN
from handful.training.model.weight_dtypes import describe_weight_dtypes, store_in
from handful.user_functions.load import Functions
from handful.user_functions.source_hash import function_hashes

SEED = 0
"""The folder's."""


@dataclass(frozen=True)
class Probed:
    """A model's probe, whole in the store."""

    weights_hash: str
    told: Mapping[str, Any]
    """For its metrics.json."""


@dataclass(frozen=True)
class Ground:
    """What a probe stands on."""

    experiment: Experiment
    functions: Functions
    label2id: Mapping[str, int]
    model: str
    """As MODEL_NAMES has it."""
    rows: Mapping[str, int]
    """Split → rows."""
    data_hash: str
    team: Team


def ready_probe(ground: Ground) -> Probed | None:
    """The probe's final/, which stands or is made; None, with the reason told, if there can be
    none. The processes of a team call it together."""
    experiment, team = ground.experiment, ground.team
    settings, scratch = settings_for(experiment.settings, ground.model), experiment.scratch
    rows = {str(split): ground.rows[split] for split in (Split.TRAIN, Split.VALIDATION)}
    splits = open_splits(experiment.store, experiment.layout, scratch, ground.model, rows)
    source = find_model(settings, scratch, ground.model)
    tokenizer = load_tokenizer(source, ground.functions, Silent())
    precision = runtime.resolve_model_precision(settings.train.PRECISION, source.name)

    def build_probe_model(pooling: str | None = None) -> Headed:
        runtime.seed_everything(settings.experiment.SEED)
        made = build(ground.functions, source, ground.label2id, settings, Silent(), pooling)
        collate = _collate(ground, made, tokenizer, splits[Split.TRAIN], precision)
        return find_classifier_head(made, splits[Split.TRAIN], collate, len(ground.label2id), team)

    found = build_probe_model()
    if found.built.is_default and not found.can_be_probed:
        found = build_probe_model(MEAN)  # its class has more that is new than the head
    model, head = found.built.model, found.head
    if head is None:
        _tell_none(ground, f"the logits of {type(model).__name__} come from no linear layer")
        return None
    model.to(runtime.default_device())
    frozen = Frozen(
        experiment=experiment,
        name=ground.model,
        model=model,
        head=head,
        collate=found.collate,
        precision=precision,
        splits=splits,
        data_hash=ground.data_hash,
        team=team,
    )
    try:
        vectors = features(frozen)
    except StepError as error:  # raised on all of a team
        _tell_none(ground, error.fault.what)
        return None
    # What is the leader's alone must not leave the others waiting.
    told = team.collect(
        _fit_and_save_probe(ground, found, frozen, vectors, tokenizer) if team.leads else {}
    )[0]
    if "fault" in told:
        _tell_none(ground, told["fault"])
        return None
    return Probed(told.pop("weights_hash"), told)


def _fit_and_save_probe(
    ground: Ground, found: Headed, frozen: Frozen, vectors: Features, tokenizer: Any | None
) -> dict[str, Any]:
    """What the test tells of the probe, which stands whole then; or `fault`: why there is none."""
    try:
        probe = fit_probe_by_metric(frozen, vectors, ground.functions, ground.label2id)
        frozen.head.fill(frozen.model, probe.weight, probe.bias)
        told = _put(ground, found, frozen, probe, tokenizer)
    except Locked:
        raise
    except (HandfulError, RuntimeError, ValueError, ArithmeticError) as error:
        return {"fault": " ".join(str(error).split())[:300]}
    home = ground.experiment.layout.features(ground.model)
    remove_other_features(ground.experiment.store, home, {probe.facts.features})
    return told


def _collate(
    ground: Ground, built: Built, tokenizer: Any | None, data: SplitData, precision: str
) -> Collator:
    give_padding_token(built.model, tokenizer)
    directory, name = ground.experiment.directory, model_folder(ground.model)
    trial = Trial(data, len(ground.label2id), directory, Silent(), name, precision)
    found = collation(built.model, tokenizer, trial)
    return Collator.from_json(ground.team.collect(found.to_json())[0])


def _put(
    ground: Ground, found: Headed, frozen: Frozen, probe: Probe, tokenizer: Any | None
) -> dict[str, Any]:
    """Write final/ unless the same stands there; what the test tells of the probe."""
    experiment, model = ground.experiment, found.built.model
    store, mine, scratch = experiment.store, experiment.layout, experiment.scratch
    made_from = _probe_inputs(ground, probe)
    final = mine.probe_final(ground.model)
    record = _find_current_probe_final(store, scratch, final, made_from)
    if record is None:
        trained = describe_weight_dtypes(model)
        store_in(model, experiment.settings.train_for(ground.model).FINAL_DTYPE)
        told = _probe_final_record(ground, frozen, probe, made_from)
        told["weights_dtype"] = {"trained": trained, "final": describe_weight_dtypes(model)}
        encoded = read_encoded_lengths(store, mine.encoded(ground.model))
        lengths = frozen.splits[Split.TRAIN].lengths
        told["max_length"] = find_text_token_limit(model, tokenizer, encoded, lengths)
        folder = scratch / f"probe-{model_folder(ground.model)}"
        record = save_final(folder, model, tokenizer, told)
        store.send_tree(folder, final, last=FINAL_RECORD)
    pooled = f", pooled by {found.built.pooling}" if found.built.pooling else ""
    return {
        "baseline": True,
        "probe_of": model_folder(ground.model),
        "told": f"logistic regression on the frozen model's states{pooled}",
        "strength": probe.facts.strength,
        "training_seconds": probe.facts.seconds,
        "fitted_on": probe.facts.rows,
        "parameters": frozen.head.width * len(ground.label2id) + len(ground.label2id),
        "data_of": model_folder(ground.model),
        "weights_hash": record["weights_hash"],
    }


def _probe_inputs(ground: Ground, probe: Probe) -> dict[str, str]:
    hashes = function_hashes(ground.experiment.directory)
    own = {f"{LOAD_MODEL} in functions.py": hashes[LOAD_MODEL]} if LOAD_MODEL in hashes else {}
    return {
        **own,
        "the probe": probe.name,
        "the encoded data": ground.data_hash,
        "[train] FINAL_DTYPE": ground.experiment.settings.train_for(ground.model).FINAL_DTYPE,
    }


def _find_current_probe_final(
    store: Store, scratch: Path, final: str, made_from: Mapping[str, str]
) -> dict[str, Any] | None:
    """What the final/ that stands says, if it is of the same."""
    try:
        record: dict[str, Any] = json.loads(store.read(f"{final}/{FINAL_RECORD}"))
        if record["made_from"] != made_from or not record["weights_hash"]:
            return None
        folder = store.fetch_tree(final, scratch / "standing")
        checksums.check_folder(folder, record, "")
        return record
    except (Absent, Damaged, OSError, ValueError, KeyError, TypeError):
        return None


def _probe_final_record(
    ground: Ground, frozen: Frozen, probe: Probe, made_from: Mapping[str, str]
) -> dict[str, Any]:
    """What handful.json holds, as that of a training does."""
    experiment = ground.experiment
    settings = settings_for(experiment.settings, ground.model)
    scorer = Scorer(Metrics(ground.functions, ground.label2id, settings), Silent())
    references = frozen.splits[Split.VALIDATION].references
    judged = scorer.metrics(probe.validation, references)
    return {
        "model": model_folder(ground.model),
        "probe": True,
        "seed": SEED,
        "label2id": dict(ground.label2id),
        "rows": {name: ground.rows[name] for name in ("train", "validation", "test")},
        "data_hash": ground.data_hash,
        "made_from": dict(made_from),
        "metrics": replace_non_finite_metrics(judged),
        "best_epoch": 0.0,
        "best_step": 0,
        "steps": 0,
        "epochs": 0.0,
        "seconds": probe.facts.seconds,
        "collation": frozen.collate.to_json(),
        "parameters": sum(one.numel() for one in frozen.model.parameters()),
        "environment": runtime.environment(frozen.precision, ground.team.size),
        "versions": versions(),
        "experiment": experiment.settings.experiment.NAME,
        "settings": dict(list_counted_model_settings(experiment.settings, ground.model)),
        "encoded_by": encoding_functions(experiment.store, experiment.layout.prepared_record),
        "finished_at": current_moment(),
    }


def _tell_none(ground: Ground, why: str) -> None:
    ground.experiment.progress.warn(f"{model_folder(ground.model)} has no probe: {why}")
