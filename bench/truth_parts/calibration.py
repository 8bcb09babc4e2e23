"""Does temperature scaling make the probabilities truer on documents that nobody has seen?

all-MiniLM-L6-v2 on Reuters R8, its official split: trained by the product on (a part of) train,
the temperature fitted on validation by `test`, and judged on the test part.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_parts import encoded, r8

from truth_parts.noise import macro_f1

if TYPE_CHECKING:
    from handful.experiment.context import Experiment
    from handful.records import Prepared

MODEL = "all-MiniLM-L6-v2"
MAX_TOKENS = 128
SETTINGS = """EPOCHS = {epochs}
BATCH_SIZE = 16
LEARNING_RATE = 3e-4
METRIC = accuracy
"""


def calibration(
    scratch: Path, kept: Path | None, documents: int | None, epochs: float, baseline: bool
) -> bool:
    """Train, test and print; True if the calibration error and the log-loss fall.

    With `kept` the experiment stays there; `bench/train.py r8 --folder` may have left it there.
    `baseline`: the linear model that stands beside every experiment, instead of MiniLM.
    """
    from handful.cli.console import listener
    from handful.experiment.context import open_experiment

    root = kept or scratch
    directory = root / "EXP-R8"
    if not (encoded.encoded_folder(directory) / "prepared.json").is_file():
        splits = r8.texts(scratch)
        splits["train"] = splits["train"][:documents]
        command = [sys.executable, str(Path(__file__).parents[2] / "examples/get_model.py")]
        subprocess.run([*command, str(root / "models")], check=True, stdout=subprocess.DEVNULL)
        settings = SETTINGS.format(epochs=epochs)
        encoded.write(directory, root / "models" / MODEL, splits, MAX_TOKENS, settings)
    experiment = open_experiment(directory, ("train.SEEDS=0",), listener(False), scratch)
    record = encoded.prepared(directory)
    print(", ".join(f"{k} {v:,}" for k, v in record.rows[MODEL].items()), flush=True)
    return _of_baseline(directory) if baseline else _of_model(experiment, record)


def _of_model(experiment: Experiment, record: Prepared) -> bool:
    from handful.backends.local import Local
    from handful.steps.test import test
    from handful.steps.train import train

    trained = train(experiment, record, Local(), made_from={})
    tested = test(experiment, record, trained, Local(), made_from={})
    fell = True
    for one in tested.evaluations:
        found = json.loads(experiment.store.read(experiment.layout.metrics(one.model, one.seed)))
        fell &= _told(f"{one.model}, seed {one.seed}", found)
    return fell


def _of_baseline(directory: Path) -> bool:
    from datasets import load_from_disk

    from handful.evaluation.baseline.choosing import Unusable, choose
    from handful.evaluation.baseline.linear import fit_best, read
    from handful.evaluation.metrics.calibration import fit_temperature
    from handful.evaluation.metrics.figures import figures

    label2id = encoded.prepared(directory).label2id
    folder = encoded.encoded_folder(directory) / MODEL
    splits = {
        name: load_from_disk(str(folder / name)).with_format("arrow")
        for name in ("train", "validation", "test")
    }
    usable = choose(splits["train"])
    if isinstance(usable, Unusable):
        raise SystemExit(usable.reason)
    truth = {name: rows[:].column("labels").to_numpy() for name, rows in splits.items()}
    counts = read(usable, splits)
    model = fit_best(counts, truth, len(label2id), macro_f1)
    logits = {name: model.log_probabilities(raw) for name, raw in counts.splits.items()}
    temperature = fit_temperature(logits["validation"], truth["validation"])
    return _told("TF-IDF", figures(logits["test"], truth["test"], list(label2id), temperature, 0))


def _told(name: str, found: dict[str, Any]) -> bool:
    intervals, fell = found["intervals"], True
    accuracy, temperature = intervals["accuracy"]["value"], found["calibration"]["temperature"]
    print(f"{name}: accuracy {accuracy:.4f}, T = {temperature:.3f}")
    for figure in ("ece", "log_loss"):
        before, after = intervals[figure], intervals[f"{figure}_calibrated"]
        falls = after["value"] < before["value"]
        fell &= falls
        words = "falls" if falls else "does NOT fall"
        print(f"  {figure:9} before {_figure(before)}, after {_figure(after)}: {words}")
    return fell


def _figure(one: dict[str, float]) -> str:
    return f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
