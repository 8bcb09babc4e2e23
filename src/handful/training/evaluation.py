"""The worker's task "test": every trained model on the held-out split, in one look.

No result is written before all models have been evaluated, so that a look is whole or absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.experiment import Experiment, with_values
from handful.functions import Functions, load_functions
from handful.layout import model_folder
from handful.training import baselines, reviewing, runtime
from handful.training.calls import settings_for
from handful.training.checkpoints import file_hash
from handful.training.checks import check_features
from handful.training.collate import Collator
from handful.training.data import SplitData, check_label_map, open_split
from handful.training.final import open_final
from handful.training.metrics import Metrics
from handful.training.model import find_model, load_tokenizer, pad_values
from handful.training.prediction import Predicted, predict
from handful.training.results import summary, write_confusion, write_json, write_predictions

PREDICTIONS, METRICS, CONFUSION = "predictions.parquet", "metrics.json", "confusion_matrix.csv"


@dataclass(frozen=True)
class Wanted:
    """One trained model to evaluate."""

    model: str
    seed: int
    weights_hash: str
    rows: int
    """Rows of the test split, as prepare wrote them."""
    values: Mapping[str, str] = field(default_factory=dict)
    """The settings that tune found for it."""


@dataclass(frozen=True)
class Written:
    """One model's results, still on this machine."""

    wanted: Wanted
    folder: Path
    result: dict[str, Any]


def evaluate(experiment: Experiment, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`: `label2id`, and `runs` (a list of what `Wanted` holds); `baseline_rows` (see
    `baselines.grounds`), without which there are no baselines, and `best_run`, the number of the
    run that judges labels.

    Returns `evaluations`: what `records.Evaluation` holds, one for each run, and `baselines`, the
    same of those. Raises `DataError`
    for a test split that is empty or holds an artifact twice, `StepError` if the weights are not
    those that were trained, or if an artifact was not evaluated exactly once.
    """
    label2id = arguments["label2id"]
    check_label_map(experiment, label2id)
    functions = load_functions(experiment.directory)
    runtime.use_threads()
    written = []
    simple = baselines.made(experiment, functions, label2id, arguments.get("baseline_rows", {}))
    for number, run in enumerate(arguments["runs"]):
        folder, wanted = experiment.scratch / f"evaluated-{number}", Wanted(**run)
        mine = with_values(experiment, wanted.model, wanted.values)
        written.append(_evaluated(mine, functions, label2id, wanted, folder))
    for one in written:
        where = experiment.layout.evaluated(one.wanted.model, one.wanted.seed)
        experiment.store.send_tree(one.folder, where, last=METRICS)
    if simple:
        baselines.send(experiment, simple)
        best = written[arguments.get("best_run", 0)]
        reviewing.review_labels(experiment, label2id, simple.data, best.folder / PREDICTIONS)
    return {
        "evaluations": [one.result for one in written],
        "baselines": [one.result for one in simple.made] if simple else [],
    }


def _evaluated(
    experiment: Experiment,
    functions: Functions,
    label2id: Mapping[str, int],
    wanted: Wanted,
    folder: Path,
) -> Written:
    data = open_split(experiment, wanted.model, "test", wanted.rows)
    predicted = _predicted(experiment, functions, wanted, data, len(label2id))
    ids = data.ids()
    settings = settings_for(experiment.settings, wanted.model)
    metrics = Metrics(functions, label2id, settings)(predicted.logits, data.references)
    labels = sorted(label2id, key=label2id.__getitem__)
    folder.mkdir(parents=True)
    write_predictions(folder / PREDICTIONS, ids, data.references, predicted.logits, labels)
    write_confusion(folder / CONFUSION, predicted.logits, data.references, labels)
    figures = summary(predicted.logits, data.references, labels, metrics)
    result = {
        "model": model_folder(wanted.model),
        "seed": wanted.seed,
        "metrics": figures["metrics"],
        "artifacts": len(ids),
        "seconds": round(predicted.seconds, 3),
        "predictions_hash": file_hash(folder / PREDICTIONS),
    }
    write_json(folder / METRICS, {**result, **figures, "weights_hash": wanted.weights_hash})
    return Written(wanted, folder, result)


def _predicted(
    experiment: Experiment, functions: Functions, wanted: Wanted, data: SplitData, labels: int
) -> Predicted:
    source = find_model(experiment, wanted.model)
    final = experiment.layout.final(wanted.model, wanted.seed)
    folder = experiment.store.fetch_tree(final, experiment.scratch / "trained")
    opened = open_final(experiment, functions, source, folder, wanted.weights_hash)
    name = f"test {model_folder(wanted.model)} seed {wanted.seed}"
    batch_size = experiment.settings.train_for(wanted.model).BATCH_SIZE

    def tick(done: int) -> None:
        experiment.progress.advance(name, done, len(data), "documents")

    with runtime.accelerated(_precision(opened.record)) as accelerator:
        check_features(opened.model, data.features)
        tokenizer = load_tokenizer(source, experiment.progress)
        collate = Collator(pad_values(opened.model, tokenizer))
        model = accelerator.prepare_model(opened.model, evaluation_mode=True)
        return predict(model, data, collate, batch_size, labels, tick)


def _precision(record: Mapping[str, Any]) -> str:
    """As it was trained, unless that was for a GPU that is not here."""
    trained = str(record["environment"]["precision"])
    if trained == "fp16" and runtime.default_device().type != "cuda":
        return "fp32"
    return trained
