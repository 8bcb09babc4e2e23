"""Does temperature scaling make the probabilities truer on documents that nobody has seen?

all-MiniLM-L6-v2 on Reuters R8, its official split: trained by the product on (a part of) train,
the temperature fitted on validation by `test`, and judged on the test part.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from train_parts import encoded, r8

MODEL = "all-MiniLM-L6-v2"
MAX_TOKENS = 128
SETTINGS = """EPOCHS = {epochs}
BATCH_SIZE = 16
LEARNING_RATE = 3e-4
METRIC = accuracy
"""


def calibration(scratch: Path, kept: Path | None, documents: int | None, epochs: float) -> bool:
    """Train, test and print; True if the calibration error and the log-loss fall.

    With `kept` the experiment stays there; `bench/train.py r8 --folder` may have left it there.
    """
    from handful.backends.local import Local
    from handful.cli.console import listener
    from handful.experiment import open_experiment
    from handful.steps.test import test
    from handful.steps.train import train

    root = kept or scratch
    directory = root / "EXP-R8"
    if not (encoded.encoded_folder(directory) / "prepared.json").is_file():
        splits = r8.texts(scratch)
        splits["train"] = splits["train"][:documents]
        command = [sys.executable, str(Path(__file__).parents[2] / "examples/get_model.py")]
        subprocess.run([*command, str(root / "models")], check=True, stdout=subprocess.DEVNULL)
        settings = SETTINGS.format(epochs=epochs)
        encoded.write(directory, root / "models" / MODEL, splits, MAX_TOKENS, settings)
    experiment = open_experiment(directory, (), listener(False), scratch)
    record = encoded.prepared(directory)
    print(", ".join(f"{k} {v:,}" for k, v in record.rows[MODEL].items()), flush=True)
    trained = train(experiment, record, Local(), made_from={})
    tested = test(experiment, record, trained, Local(), made_from={})
    fell = True
    for one in tested.evaluations:
        found = json.loads(experiment.store.read(experiment.layout.metrics(one.model, one.seed)))
        temperature = found["calibration"]["temperature"]
        print(f"seed {one.seed}: accuracy {one.metrics['accuracy']:.4f}, T = {temperature:.3f}")
        for before, after in (("ece", "ece_calibrated"), ("log_loss", "log_loss_calibrated")):
            fell &= one.metrics[after] < one.metrics[before]
            told = [_told(found["intervals"][name]) for name in (before, after)]
            word = "falls" if one.metrics[after] < one.metrics[before] else "does NOT fall"
            print(f"  {before:9} before {told[0]}, after {told[1]}: {word}")
    return fell


def _told(one: dict[str, float]) -> str:
    return f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
