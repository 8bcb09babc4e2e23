"""The worker's task "test": every trained model on the held-out split, in one look.

No result is written before all models have been evaluated, so that a look is whole or absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.evaluation.label_review import Source, by_model, review
from handful.evaluation.test_access_log import begin_look
from handful.experiment.context import Experiment, with_values
from handful.files import checksums
from handful.jobs.arguments import RunToTest, TestArgs
from handful.layout import FINAL_RECORD, Layout, model_folder, probe_folder
from handful.progress import Progress
from handful.records import Split
from handful.settings import Settings
from handful.settings.recipe import BATCH_SIZE
from handful.storage.base import Store
from handful.storage.checked import list_written_files
from handful.training.calls import settings_for
from handful.training.cpu.kernels import use_cpu_kernels
from handful.training.data.collation import collator_from_record
from handful.training.data.lengths import check_lengths, read_encoded_lengths
from handful.training.data.splits import SplitData, check_label_map, open_splits
from handful.training.evaluation import baselines
from handful.training.evaluation.label_noise import by_baseline
from handful.training.evaluation.metrics import (
    Metrics,
    describe_non_finite_metrics,
    replace_non_finite_metrics,
)
from handful.training.evaluation.prediction import Predicted, predict
from handful.training.evaluation.probes import Ground, Probed, ready_probe
from handful.training.evaluation.results import (
    Answered,
    summary,
    write_confusion,
    write_json,
    write_predictions,
)
from handful.training.loop import runtime
from handful.training.loop.checkpoints import file_hash
from handful.training.loop.process_group import Team, join_training_team, left
from handful.training.model.capabilities import check_features
from handful.training.model.final import open_final
from handful.training.model.load import find_model, load_tokenizer
from handful.user_functions.load import Functions, load_functions

PREDICTIONS, METRICS, CONFUSION = "predictions.parquet", "metrics.json", "confusion_matrix.csv"
VALIDATION = "validation_predictions.parquet"


@dataclass(frozen=True)
class Wanted(RunToTest):
    """One trained model to evaluate, or its probe."""

    probe: Probed | None = None
    """Of the model's probe: what its metrics tell beside the others'."""

    @property
    def name(self) -> str:
        """Under which its results stand."""
        return probe_folder(self.model) if self.probe else model_folder(self.model)

    @property
    def told(self) -> str:
        """As a person reads it."""
        return self.name if self.probe else f"{self.name} seed {self.seed}"

    def final(self, layout: Layout) -> str:
        """Its folder in the store."""
        return layout.probe_final(self.model) if self.probe else layout.final(self.model, self.seed)


@dataclass(frozen=True)
class Opened:
    """What one model says of both splits."""

    wanted: Wanted
    settings: Settings
    """As the run sees them."""
    data: Mapping[str, SplitData]
    predicted: Mapping[str, Predicted]

    def answered(self, split: str) -> Answered:
        return Answered(self.predicted[split].logits, self.data[split].references)

    def judge_labels(self) -> Source:
        """What it says of the labels of validation."""
        judged, ids = self.answered(Split.VALIDATION), self.data[Split.VALIDATION].ids()
        return by_model(ids, Split.VALIDATION, judged.references, judged.logits)


@dataclass(frozen=True)
class Written:
    """One model's results, still on this machine."""

    wanted: Wanted
    folder: Path
    result: dict[str, Any]
    temperature: float


def evaluate(experiment: Experiment, arguments: TestArgs) -> dict[str, Any]:
    """Several processes share the work if torchrun has started them.

    Returns `evaluations`: what `records.Evaluation` holds, one for each run; `baselines`, the same
    of those; and `look`, the number of this look. Raises `DataError` for a test split that is empty
    or holds an artifact twice, `StepError` if the weights are not those that were trained, or if an
    artifact was not evaluated exactly once.
    """
    store, mine, progress = experiment.store, experiment.layout, experiment.progress
    label2id = arguments.label2id
    check_label_map(store, mine.label2id, label2id)
    functions = load_functions(experiment.directory)
    # As many as there are: where one process was started for the work of two, one does it all.
    team = join_training_team(int(os.environ.get("WORLD_SIZE", "1")))
    if team.size == 1:
        runtime.use_threads()
    try:
        runs = [Wanted(**vars(run)) for run in arguments.runs]
        runs += _probes(experiment, functions, arguments, team)
        opened = [_answer(experiment, functions, run, len(label2id), team) for run in runs]
    finally:
        left()
    if not team.leads:
        return {}
    # All files are written here first; then the look is noted; then they leave.
    simple = baselines.made(experiment, functions, label2id, arguments.baseline_rows)
    written = [
        _write_run_test(one, functions, label2id, experiment.scratch / f"evaluated-{n}", progress)
        for n, one in enumerate(opened)
    ]
    look = begin_look(store, mine, progress, arguments.look)
    for one in written:
        where = mine.evaluated(one.wanted.name, one.wanted.seed)
        store.send_tree(one.folder, where, last=METRICS)
        _keep_temperature(store, f"{one.wanted.final(mine)}/{FINAL_RECORD}", one.temperature)
    if simple:
        baselines.send(store, mine, simple)
        best, seed = opened[arguments.best_run], experiment.settings.experiment.SEED
        judges = [by_baseline(store, mine.splits, simple.data, seed), best.judge_labels()]
        review(store, mine, progress, judges, sorted(label2id, key=label2id.__getitem__))
    return {
        "files": checksums.to_json(list_written_files(experiment.store)),
        "evaluations": [one.result for one in written if not one.wanted.probe],
        "baselines": [one.result for one in written if one.wanted.probe]
        + ([one.result for one in simple.made] if simple else []),
        "look": look,
    }


def _probes(
    experiment: Experiment, functions: Functions, arguments: TestArgs, team: Team
) -> list[Wanted]:
    """The probe of every model whose data the baselines may use, put where predict finds it."""
    values = {run.model: run.values for run in arguments.runs}
    found, labels, hashes = [], arguments.label2id, arguments.data_hash
    if not hashes:
        return []
    for model, rows in arguments.baseline_rows.items():
        mine = with_values(experiment, model, values.get(model, {}))
        ground = Ground(mine, functions, labels, model, rows, hashes[model], team)
        probed = ready_probe(ground)
        if probed is None and team.leads:  # one of before would be compared with what is new
            experiment.store.delete_tree(experiment.layout.evaluated(probe_folder(model), 0))
        if probed is not None:
            looked = {str(name): rows[name] for name in (Split.VALIDATION, Split.TEST)}
            wanted = Wanted(model, 0, probed.weights_hash, looked, values.get(model, {}), probed)
            found.append(wanted)
    return found


def _answer(
    experiment: Experiment, functions: Functions, wanted: Wanted, labels: int, team: Team
) -> Opened:
    store, mine, scratch = experiment.store, experiment.layout, experiment.scratch
    model, progress = wanted.model, experiment.progress
    settings = settings_for(with_values(experiment, model, wanted.values).settings, model)
    rows = {str(split): wanted.rows[split] for split in (Split.VALIDATION, Split.TEST)}
    data = open_splits(store, mine, scratch, model, rows)
    kernels = use_cpu_kernels(settings.train.CPU_KERNELS, progress)
    source = find_model(settings, scratch, model)
    folder = store.fetch_tree(wanted.final(mine), scratch / "trained")
    trained = open_final(functions, source, folder, wanted.weights_hash, settings, progress)
    total, before = sum(map(len, data.values())), 0

    def tick(done: int) -> None:
        progress.advance(f"test {wanted.told}", before + done, total, "documents")

    found = {}
    with runtime.open_accelerator(_choose_test_precision(trained.record), team.size) as accelerator:
        tokenizer = load_tokenizer(source, functions, progress)
        check_lengths(trained.model, read_encoded_lengths(store, mine.encoded(model)))
        collate = collator_from_record(trained.record, trained.model, tokenizer)
        module = accelerator.prepare_model(trained.model, evaluation_mode=True)
        size = settings.train.BATCH_SIZE or BATCH_SIZE
        for split, part in data.items():
            check_features(trained.model, part.features)
            found[split] = predict(module, part, collate, size, labels, tick, team, kernels=kernels)
            before += len(part)
    return Opened(wanted, settings, data, found)


def _write_run_test(
    one: Opened, functions: Functions, label2id: Mapping[str, int], folder: Path, progress: Progress
) -> Written:
    wanted, data = one.wanted, one.data[Split.TEST]
    test, validation = one.answered(Split.TEST), one.answered(Split.VALIDATION)
    ids, settings = data.ids(), one.settings
    own = Metrics(functions, label2id, settings)
    simple = baselines.Scorer(own, progress)

    def score_test_split(split: str) -> dict[str, float]:
        logits, references = one.answered(split).logits, one.answered(split).references
        loss = one.predicted[split].loss
        if wanted.probe:  # which must not end the test
            return simple.metrics(logits, references, loss)
        return own.with_metric(settings.train.METRIC, logits, references, loss)

    metrics = score_test_split(Split.TEST)
    odd = describe_non_finite_metrics(metrics)
    if odd:
        progress.warn(f"test {wanted.told}: {odd}")
    labels = sorted(label2id, key=label2id.__getitem__)
    folder.mkdir(parents=True)
    write_predictions(folder / PREDICTIONS, ids, test.references, test.logits, labels)
    write_predictions(
        folder / VALIDATION,
        one.data[Split.VALIDATION].ids(),
        validation.references,
        validation.logits,
        labels,
    )
    write_confusion(folder / CONFUSION, test.logits, test.references, labels)
    figures = summary(
        test, validation, labels, replace_non_finite_metrics(metrics), settings.experiment.SEED
    )
    result = {
        "model": wanted.name,
        "seed": wanted.seed,
        "metrics": figures["metrics"],
        "artifacts": len(ids),
        "seconds": round(one.predicted[Split.TEST].seconds, 3),
        "predictions_hash": file_hash(folder / PREDICTIONS),
    }
    told = {**result, **figures, "weights_hash": wanted.weights_hash}
    if wanted.probe:
        told |= {
            **wanted.probe.told,
            "validation": replace_non_finite_metrics(score_test_split(Split.VALIDATION)),
        }
    write_json(folder / METRICS, told)
    return Written(wanted, folder, result, figures["calibration"]["temperature"])


def _keep_temperature(store: Store, key: str, temperature: float) -> None:
    """Into the handful.json at `key`, so that final/ alone gives calibrated probabilities."""
    record = json.loads(store.read(key))
    told = {**record, "temperature": temperature}
    told.pop(checksums.MEMBER, None)  # of what it said before
    if record.get("temperature") != temperature:
        text = json.dumps(told, indent=2, ensure_ascii=False)
        store.write(key, f"{text}\n".encode())


def _choose_test_precision(record: Mapping[str, Any]) -> str:
    """As it was trained, unless that was for a GPU that is not here."""
    trained = str(record["environment"]["precision"])
    if trained == "fp16" and runtime.default_device().type != "cuda":
        return "fp32"
    return trained
