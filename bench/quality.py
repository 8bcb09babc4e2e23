"""How good untouched models are: what a head begins with, on real data sets, beside the baselines.

    python bench/quality.py heads [SET …] [--documents N] [--tokens N] [--epochs N] [--rate RATE]
                                  [--checkpoint NAME] [--seeds N] [--folder DIR]

heads: one checkpoint, the same data, epochs and rate. `class`: the class's own head, one pace for
all (what there was before POOLING); `random`: the checkpoint's pooling, a new head at ten times the
pace; `probe`: the same, begun with the probe's weights. Beside them the probe alone and TF-IDF.
Figures are macro-F1 and accuracy on the test split, means over the seeds; the epoch is chosen on
validation. Sets: see `quality_parts/datasets.py`; `--documents` takes the first so many of train.
With `--folder` the work stays there, and the same command goes on with it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quality_parts import checkpoints, datasets
from train_parts import encoded

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "class": {"POOLING": "model", "HEAD_INIT": "random", "HEAD_LEARNING_RATE": "{rate}"},
    "random": {"HEAD_INIT": "random"},
    "probe": {"HEAD_INIT": "probe"},
}
CHOSEN = ("r8", "foldoc", "newsgroups")
BATCH_SIZE = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=("heads",))
    parser.add_argument("sets", nargs="*", default=CHOSEN)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--checkpoint", default="all-minilm-l6-v2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.sets:
            _heads(name, asked, asked.folder or Path(scratch))
    return 0


def _heads(name: str, asked: argparse.Namespace, home: Path) -> None:
    model = checkpoints.checkpoint(asked.checkpoint)
    parts = dict(datasets.splits(name))
    parts["train"] = parts["train"][: asked.documents]
    sizes = ", ".join(f"{len(texts):,} {split}" for split, texts in parts.items())
    print(f"\n{name} ({sizes}), {asked.checkpoint}, {asked.epochs} epochs at {asked.rate:g}")
    print(f"{'':10} {'macro-F1':>9} {'accuracy':>9} {'epoch':>6} {'seconds':>8}")
    baselines: dict[str, Any] = {}
    for variant, keys in VARIANTS.items():
        directory = home / name / variant / "EXP"
        if not encoded.is_written(directory):
            lines = {
                "EPOCHS": str(asked.epochs),
                "LEARNING_RATE": f"{asked.rate:g}",
                "BATCH_SIZE": str(BATCH_SIZE),
                "SEEDS": ", ".join(str(seed) for seed in range(asked.seeds)),
                **{key: text.format(rate=f"{asked.rate:g}") for key, text in keys.items()},
            }
            text = "\n".join(f"{key} = {value}" for key, value in lines.items())
            encoded.write(directory, model, parts, asked.tokens, text + "\n")
        runs, baselines = _run(directory)
        _print(variant, runs)
    for baseline, metrics in baselines.items():
        _print(baseline.partition("--")[0], [{**metrics, "epoch": 0.0}])


def _run(directory: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Of every seed the test's metrics, epoch and seconds; and the baselines'."""
    from handful.backends.inline import Inline
    from handful.experiment import open_experiment
    from handful.progress import Silent
    from handful.steps.test import test
    from handful.steps.train import train

    prepared = encoded.prepared(directory)
    made_from = {"[train]": "of the benchmark"}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        opened = open_experiment(directory, (), Silent(), home / "train")
        (home / "train").mkdir()
        started = time.monotonic()
        trained = train(opened, prepared, Inline(), made_from=made_from)
        seconds = (time.monotonic() - started) / len(trained.runs)
        (home / "test").mkdir()
        again = open_experiment(directory, (), Silent(), home / "test")
        tested = test(again, prepared, trained, Inline(), made_from=made_from)
    epochs = [run.best_epoch for run in trained.runs]
    runs = [
        {**one.metrics, "epoch": float(epoch), "seconds": seconds}
        for one, epoch in zip(tested.evaluations, epochs, strict=True)
    ]
    folder = directory.parent / "store" / directory.name / "results/full_dataset/evaluation"
    told = {}
    for each in tested.baselines:
        found = json.loads((folder / each.model / "seed-0/metrics.json").read_text())
        told[each.model] = {**each.metrics, "seconds": found.get("training_seconds", 0.0)}
    return runs, told


def _print(name: str, runs: Sequence[Mapping[str, Any]]) -> None:
    def mean(key: str) -> float:
        return statistics.fmean(float(run[key] or 0.0) for run in runs)

    figures = f"{mean('macro_f1'):9.4f} {mean('accuracy'):9.4f}"
    print(f"{name:18} {figures} {mean('epoch'):6.1f} {mean('seconds'):8.1f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
