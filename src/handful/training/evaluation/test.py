"""The worker's task "test": every trained model on the held-out split, in one look.

No result is written before all models have been evaluated, so that a look is whole or absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.evaluation.test_access_log import begin_look
from handful.experiment.context import Experiment, with_values
from handful.files import checksums
from handful.layout import FINAL_RECORD, Layout, model_folder, probe_folder
from handful.records import Split
from handful.settings.recipe import BATCH_SIZE
from handful.storage.checked import list_written_files
from handful.training.calls import settings_for
from handful.training.data.collation import collator_from_record
from handful.training.data.lengths import check_lengths, read_encoded_lengths
from handful.training.data.splits import SplitData, check_label_map, open_split
from handful.training.evaluation import baselines
from handful.training.evaluation.label_noise import judge_labels
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
class Wanted:
    """One trained model to evaluate."""

    model: str
    seed: int
    weights_hash: str
    rows: Mapping[str, int]
    """Rows of the validation and of the test split, as prepare wrote them."""
    values: Mapping[str, str] = field(default_factory=dict)
    """The settings that tune found for it."""
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
    data: Mapping[str, SplitData]
    predicted: Mapping[str, Predicted]

    def answered(self, split: str) -> Answered:
        return Answered(self.predicted[split].logits, self.data[split].references)


@dataclass(frozen=True)
class Written:
    """One model's results, still on this machine."""

    wanted: Wanted
    folder: Path
    result: dict[str, Any]
    temperature: float


def evaluate(experiment: Experiment, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`: `label2id`, `runs` (a list of what `Wanted` holds) and `look` (see
    `test_access_log`); `baseline_rows` (see `baselines.grounds`), without which there are no
    baselines; `data_hash`, by model, without which there are no probes; and `best_run`, the number
    of the run that judges labels. Several processes share the work if torchrun has started them.

    Returns `evaluations`: what `records.Evaluation` holds, one for each run; `baselines`, the same
    of those; and `look`, the number of this look. Raises `DataError` for a test split that is empty
    or holds an artifact twice, `StepError` if the weights are not those that were trained, or if an
    artifact was not evaluated exactly once.
    """
    label2id = arguments["label2id"]
    check_label_map(experiment, label2id)
    functions = load_functions(experiment.directory)
    # As many as there are: where one process was started for the work of two, one does it all.
    team = join_training_team(int(os.environ.get("WORLD_SIZE", "1")))
    if team.size == 1:
        runtime.use_threads()
    try:
        runs = [Wanted(**run) for run in arguments["runs"]]
        runs += _probes(experiment, functions, arguments, team)
        opened = [
            _open_run_for_test(experiment, functions, wanted, len(label2id), team)
            for wanted in runs
        ]
    finally:
        left()
    return _write_and_send_tests(experiment, functions, opened, arguments) if team.leads else {}


def _probes(
    experiment: Experiment, functions: Functions, arguments: Mapping[str, Any], team: Team
) -> list[Wanted]:
    """The probe of every model whose data the baselines may use, put where predict finds it."""
    values = {run["model"]: run.get("values", {}) for run in arguments["runs"]}
    found, labels, hashes = [], arguments["label2id"], arguments.get("data_hash")
    if hashes is None:
        return []  # asked by a build that knew no probes
    for model, rows in arguments.get("baseline_rows", {}).items():
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


def _write_and_send_tests(
    experiment: Experiment,
    functions: Functions,
    opened: Sequence[Opened],
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """All files are written here first; then the look is noted; then they leave."""
    label2id = arguments["label2id"]
    simple = baselines.made(experiment, functions, label2id, arguments.get("baseline_rows", {}))
    written = [
        _write_run_test(
            experiment, functions, label2id, one, experiment.scratch / f"evaluated-{number}"
        )
        for number, one in enumerate(opened)
    ]
    look = begin_look(experiment, arguments["look"])
    for one in written:
        where = experiment.layout.evaluated(one.wanted.name, one.wanted.seed)
        experiment.store.send_tree(one.folder, where, last=METRICS)
        _keep_temperature(experiment, one)
    if simple:
        baselines.send(experiment, simple)
        best = opened[arguments.get("best_run", 0)]
        judged = best.answered(Split.VALIDATION)
        ids = best.data[Split.VALIDATION].ids()
        judge_labels(experiment, label2id, simple.data, ids, judged)
    return {
        "files": checksums.to_json(list_written_files(experiment.store)),
        "evaluations": [one.result for one in written if not one.wanted.probe],
        "baselines": [one.result for one in written if one.wanted.probe]
        + ([one.result for one in simple.made] if simple else []),
        "look": look,
    }


def _open_run_for_test(
    experiment: Experiment, functions: Functions, wanted: Wanted, labels: int, team: Team
) -> Opened:
    mine = with_values(experiment, wanted.model, wanted.values)
    data = {
        str(split): open_split(mine, wanted.model, split, wanted.rows[split])
        for split in (Split.VALIDATION, Split.TEST)
    }
    return Opened(wanted, data, _predict_test_splits(mine, functions, wanted, data, labels, team))


def _write_run_test(
    experiment: Experiment,
    functions: Functions,
    label2id: Mapping[str, int],
    one: Opened,
    folder: Path,
) -> Written:
    wanted, data = one.wanted, one.data[Split.TEST]
    mine = with_values(experiment, wanted.model, wanted.values)
    test, validation = one.answered(Split.TEST), one.answered(Split.VALIDATION)
    ids, settings = data.ids(), settings_for(mine.settings, wanted.model)
    own = Metrics(functions, label2id, settings)
    simple = baselines.Scorer(mine, functions, label2id, wanted.model)

    def score_test_split(split: str) -> dict[str, float]:
        logits, references = one.answered(split).logits, one.answered(split).references
        loss = one.predicted[split].loss
        if wanted.probe:  # which must not end the test
            return simple.metrics(logits, references, loss)
        return own.with_metric(settings.train.METRIC, logits, references, loss)

    metrics = score_test_split(Split.TEST)
    odd = describe_non_finite_metrics(metrics)
    if odd:
        mine.progress.warn(f"test {wanted.told}: {odd}")
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
        test, validation, labels, replace_non_finite_metrics(metrics), mine.settings.experiment.SEED
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


def _keep_temperature(experiment: Experiment, one: Written) -> None:
    """Into final/handful.json, so that the folder alone gives calibrated probabilities."""
    key = f"{one.wanted.final(experiment.layout)}/{FINAL_RECORD}"
    record = json.loads(experiment.store.read(key))
    told = {**record, "temperature": one.temperature}
    told.pop(checksums.MEMBER, None)  # of what it said before
    if record.get("temperature") != one.temperature:
        text = json.dumps(told, indent=2, ensure_ascii=False)
        experiment.store.write(key, f"{text}\n".encode())


def _predict_test_splits(
    experiment: Experiment,
    functions: Functions,
    wanted: Wanted,
    data: Mapping[str, SplitData],
    labels: int,
    team: Team,
) -> dict[str, Predicted]:
    source = find_model(experiment, wanted.model)
    final = wanted.final(experiment.layout)
    folder = experiment.store.fetch_tree(final, experiment.scratch / "trained")
    opened = open_final(experiment, functions, source, folder, wanted.weights_hash)
    name = f"test {wanted.told}"
    batch_size = experiment.settings.train_for(wanted.model).BATCH_SIZE or BATCH_SIZE
    total, before = sum(map(len, data.values())), 0

    def tick(done: int) -> None:
        experiment.progress.advance(name, before + done, total, "documents")

    found = {}
    with runtime.open_accelerator(_choose_test_precision(opened.record), team.size) as accelerator:
        tokenizer = load_tokenizer(source, functions, experiment.progress)
        check_lengths(opened.model, read_encoded_lengths(experiment, wanted.model))
        collate = collator_from_record(opened.record, opened.model, tokenizer)
        model = accelerator.prepare_model(opened.model, evaluation_mode=True)
        for split, rows in data.items():
            check_features(opened.model, rows.features)
            found[split] = predict(model, rows, collate, batch_size, labels, tick, team)
            before += len(rows)
    return found


def _choose_test_precision(record: Mapping[str, Any]) -> str:
    """As it was trained, unless that was for a GPU that is not here."""
    trained = str(record["environment"]["precision"])
    if trained == "fp16" and runtime.default_device().type != "cuda":
        return "fp32"
    return trained
