"""How good untouched models are: what a head begins with, on real data sets, beside the baselines.

    python bench/quality.py rules [SET …] [--checkpoints NAME …] [--rates RATE …] …
    python bench/quality.py tune [SET …] [--trials N] [--documents N] [--held N] [--lengths EPOCHS]
    python bench/quality.py frozen [SET …] --old SRC [--documents N] [--tokens N] [--rounds N]
    python bench/quality.py few [SET …] [--counts N …] [--seeds N] [--tokens N] [--held N]
                                [--who WHO …] [--setfit PYTHON]
    python bench/quality.py heads [SET …] [--documents N] [--tokens N] [--epochs N] [--rate RATE]
                                  [--checkpoint NAME] [--seeds N] [--folder DIR]

heads: one checkpoint, the same data, epochs and rate. `class`: the class's own head, one pace for
all (what there was before POOLING); `random`: the checkpoint's pooling, a new head at ten times the
pace; `probe`: the same, begun with the probe's weights. Beside them the probe alone and TF-IDF.
rules: EPOCHS and BATCH_SIZE by `auto`, at several learning rates, with the head begun as the probe
or at random; a line of macro-F1 for each set and checkpoint.
tune: a search of so many trials, with bad ones given up and with none, in turn; by the first of
`--checkpoints` and of `--lengths`, in batches of 16.
frozen: a model whose lowest four of six layers are frozen, beside another build (the `src` of a
worktree), in turn: the seconds of the first epoch and of those after it.
few: so many documents a label to train on, and as many to choose by; each WHO in turn: `off`, `on`
(CONTRASTIVE, the rest as `init` writes it) and `setfit`, which is run by the Python that `--setfit`
names, with as many documents, by its own defaults. One core each: the CPU seconds are told.
Figures are macro-F1 and accuracy on the test split, means over the seeds; the epoch is chosen on
validation. Sets: see `quality_parts/datasets.py`; `--documents` takes the first so many of train.
With `--folder` the work stays there, and the same command goes on with it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quality_parts import checkpoints, datasets, few_labels, tuning
from train_parts import encoded

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "class": {"POOLING": "model", "HEAD_INIT": "random", "HEAD_LEARNING_RATE": "{rate}"},
    "random": {"HEAD_INIT": "random"},
    "probe": {"HEAD_INIT": "probe"},
}
CHOSEN = ("r8", "foldoc", "newsgroups")
BATCH_SIZE = 16
SOURCE = Path(__file__).parents[1] / "src"
FREEZE = f"""{encoded.FUNCTIONS}

def load_model(model_name, label2id, id2label, settings):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        model_name, label2id=label2id, id2label=id2label
    )
    for part in (model.bert.embeddings, *model.bert.encoder.layer[:4]):
        part.requires_grad_(False)
    return model
"""
CHECKPOINTS = ("all-minilm-l6-v2", "paraphrase-minilm-l3-v2")
RATES = ("5e-5", "1e-4", "3e-4")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=("heads", "rules", "tune", "frozen", "few"))
    parser.add_argument("sets", nargs="*", default=CHOSEN)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--checkpoint", default="all-minilm-l6-v2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--held", type=int, help="documents of validation and of test at most")
    parser.add_argument("--checkpoints", nargs="*", default=CHECKPOINTS)
    parser.add_argument("--rates", nargs="*", default=RATES)
    parser.add_argument("--heads", nargs="*", default=("probe", "random"))
    parser.add_argument("--lengths", nargs="*", default=("auto",), help="EPOCHS")
    parser.add_argument("--sizes", nargs="*", default=("auto",), help="BATCH_SIZE")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--counts", nargs="*", type=int, default=(8, 16, 64))
    parser.add_argument("--who", nargs="*", default=("off", "on", "setfit"))
    parser.add_argument("--setfit", type=Path, help="the Python of a virtual environment with it")
    parser.add_argument("--old", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.sets:
            for checkpoint in asked.checkpoints if asked.what == "rules" else ():
                _rules(name, checkpoint, asked, asked.folder or Path(scratch))
            if asked.what == "tune":
                _tune(name, asked, asked.folder or Path(scratch))
            if asked.what == "frozen":
                _frozen(name, asked, asked.folder or Path(scratch))
            for count in asked.counts if asked.what == "few" else ():
                _few_labels(name, count, asked)
            if asked.what == "heads":
                _heads(name, asked, asked.folder or Path(scratch))
    return 0


def _few(name: str, asked: argparse.Namespace) -> dict[str, list[encoded.Text]]:
    """The first of each split, of labels that train has."""
    parts = dict(datasets.splits(name))
    parts["train"] = parts["train"][: asked.documents]
    labels = {text.label for text in parts["train"]}
    for held in ("validation", "test"):
        known = [text for text in parts[held] if text.label in labels]
        parts[held] = known[: asked.held]
    return parts


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


def _tune(name: str, asked: argparse.Namespace, home: Path) -> None:
    checkpoint = asked.checkpoints[0]
    model = checkpoints.checkpoint(checkpoint)
    parts = _few(name, asked)
    text = f"EPOCHS = {asked.lengths[0]}\nBATCH_SIZE = {BATCH_SIZE}\nLEARNING_RATE = auto\n"
    text += f"[tune]\nTRIALS = {asked.trials}\n{tuning.RANGES}"
    seen: dict[bool, list[tuning.Search]] = {True: [], False: []}
    for number in range(asked.rounds):
        for pruning in (True, False) if number % 2 == 0 else (False, True):
            directory = home / f"{name}-tune-{pruning}-{number}" / "EXP"
            if not encoded.is_written(directory):
                encoded.write(directory, model, parts, asked.tokens, text)
            seen[pruning].append(tuning.search(directory, pruning=pruning))
            print(f"{name}, {checkpoint}, pruning {pruning}: {seen[pruning][-1]}", flush=True)
    with_it, without = (
        statistics.median(one.seconds for one in seen[pruning]) for pruning in (True, False)
    )
    print(
        f"{name}, {checkpoint}, {len(parts['train'])} documents, {asked.trials} trials: "
        f"{with_it:.0f} s, {without:.0f} s with none given up ({with_it / without:.2f})"
    )


def _frozen(name: str, asked: argparse.Namespace, home: Path) -> None:
    model = checkpoints.checkpoint(asked.checkpoint)
    parts = dict(datasets.splits(name))
    parts["train"] = parts["train"][: asked.documents]
    parts["validation"] = parts["validation"][: asked.held]
    seen: dict[str, list[dict[str, list[float]]]] = {"this": [], "old": []}
    for number in range(asked.rounds):
        for build, source in (("this", SOURCE), ("old", asked.old)):
            directory = home / f"{name}-{build}-{number}" / "EXP"
            text = f"EPOCHS = 3\nBATCH_SIZE = {BATCH_SIZE}\nLEARNING_RATE = {asked.rate:g}\n"
            encoded.write(directory, model, parts, asked.tokens, text, FREEZE)
            script = Path(__file__).parent / "quality_parts/epochs.py"
            done = subprocess.run(
                [sys.executable, str(script), str(directory)],
                env={**os.environ, "PYTHONPATH": str(source)},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            seen[build].append(json.loads(done.stdout.splitlines()[-1]))
    later = {
        build: statistics.median(second for run in runs for second in run["seconds"][1:])
        for build, runs in seen.items()
    }
    first = {b: statistics.median(run["seconds"][0] for run in runs) for b, runs in seen.items()}
    print(
        f"{name}, {len(parts['train'])} documents of at most {asked.tokens} tokens, 4 of 6 layers "
        f"frozen: an epoch after the first {later['this']:.1f} s, {later['old']:.1f} s with the "
        f"other build ({later['this'] / later['old']:.2f}); the first {first['this']:.1f} and "
        f"{first['old']:.1f} s; METRIC {seen['this'][0]['values']} and {seen['old'][0]['values']}"
    )


def _few_labels(name: str, count: int, asked: argparse.Namespace) -> None:
    """A line for each seed and contestant, as soon as it is known."""
    model = checkpoints.checkpoint(asked.checkpoint)
    for seed in range(asked.seeds):
        parts = few_labels.few(name, count, seed)
        parts["test"] = parts["test"][: asked.held]
        for who in asked.who:
            with tempfile.TemporaryDirectory() as scratch:
                told = (
                    _run_setfit(model, parts, asked, seed, Path(scratch))
                    if who == "setfit"
                    else _run_few(model, parts, asked, seed, Path(scratch), who)
                )
            print(
                f"{name}, {asked.checkpoint}, {count} a label, seed {seed}, {who}: accuracy "
                f"{told['accuracy']:.4f}, {told['cpu']:.1f} CPU seconds",
                flush=True,
            )


def _run_few(
    model: Path,
    parts: Mapping[str, list[encoded.Text]],
    asked: argparse.Namespace,
    seed: int,
    scratch: Path,
    contrastive: str,
) -> Mapping[str, float]:
    text = f"EPOCHS = auto\nBATCH_SIZE = auto\nLEARNING_RATE = auto\nSEEDS = {seed}\n"
    text += f"EARLY_STOPPING_PATIENCE = 3\nCONTRASTIVE = {contrastive}\n"
    encoded.write(scratch / "EXP", model, parts, asked.tokens, text)
    (run,), baselines = _run(scratch / "EXP")
    for baseline, metrics in baselines.items():
        print(f"  {baseline}: accuracy {metrics['accuracy']:.4f}")
    print(f"  epoch {run['epoch']:g}, {run['chosen_by']:.3f} on validation")
    return run


def _run_setfit(
    model: Path,
    parts: Mapping[str, list[encoded.Text]],
    asked: argparse.Namespace,
    seed: int,
    scratch: Path,
) -> Mapping[str, float]:
    texts = scratch / "texts.json"
    told = {split: [[one.text, one.label] for one in some] for split, some in parts.items()}
    texts.write_text(json.dumps(told))
    script = Path(__file__).parent / "quality_parts/setfit_run.py"
    words = [script, texts, model, asked.tokens, seed]
    done = subprocess.run(
        [asked.setfit, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rules(name: str, checkpoint: str, asked: argparse.Namespace, home: Path) -> None:
    """A line of each training is kept in `rules.jsonl`; what stands there is not done again."""
    model = checkpoints.checkpoint(checkpoint)
    parts = _few(name, asked)
    data = {"set": name, "checkpoint": checkpoint, "tokens": asked.tokens}
    data |= {split: len(texts) for split, texts in parts.items()}
    sizes = "-".join(str(size) for size in (asked.tokens, *map(len, parts.values())))
    directory = home / f"{name}-{sizes}" / checkpoint / "EXP"
    if not encoded.is_written(directory):
        encoded.write(directory, model, parts, asked.tokens, "")
    kept = home / "rules.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    before = [json.loads(line) for line in lines]
    found: dict[str, Any] = {}
    for number, (rate, head, epochs, size) in enumerate(
        itertools.product(asked.rates, asked.heads, asked.lengths, asked.sizes)
    ):
        keys = {"LEARNING_RATE": rate, "HEAD_INIT": head, "EPOCHS": epochs, "BATCH_SIZE": size}
        what = {**data, **keys, "seeds": asked.seeds}
        known_line = next((line for line in before if what.items() <= line.items()), None)
        if known_line is None:
            all_keys = {
                **keys,
                "EARLY_STOPPING_PATIENCE": "3",
                "SEEDS": ", ".join(str(seed) for seed in range(asked.seeds)),
            }
            text = "\n".join(f"{key} = {value}" for key, value in all_keys.items())
            (directory / "settings.ini").write_text(
                f"{encoded.SETTINGS.format(model=model)}{text}\n"
            )
            runs, baselines = _run(directory)
            known_line = {
                **what,
                **{
                    key: statistics.fmean(float(run[key] or 0.0) for run in runs)
                    for key in ("macro_f1", "accuracy", "chosen_by", "epoch", "seconds")
                },
                "baselines": {
                    kind.partition("--")[0]: metrics["macro_f1"]
                    for kind, metrics in baselines.items()
                },
            }
            with kept.open("a") as file:
                file.write(json.dumps(known_line) + "\n")
        if not number:
            found |= known_line["baselines"]
        found[f"{head} {rate} {epochs} {size}"] = known_line["macro_f1"]
    figures = ", ".join(f"{kind} {value:.3f}" for kind, value in found.items())
    print(f"{name}, {checkpoint}, {len(parts['train'])} documents: {figures}", flush=True)


def _run(directory: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Of every seed the test's metrics, epoch and seconds; and the baselines'."""
    from handful.backends.inline import Inline
    from handful.experiment.context import open_experiment
    from handful.progress import Silent
    from handful.steps.test import test
    from handful.steps.train import train
    from handful.training import trainer  # noqa: F401 - its imports are not to be timed

    prepared = encoded.prepared(directory)
    made_from = {"[train]": (directory / "settings.ini").read_text()}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        opened = open_experiment(directory, (), Silent(), home / "train")
        (home / "train").mkdir()
        started, cpu = time.monotonic(), time.process_time()
        trained = train(opened, prepared, Inline(), made_from=made_from)
        seconds = (time.monotonic() - started) / len(trained.runs)
        cpu = (time.process_time() - cpu) / len(trained.runs)
        (home / "test").mkdir()
        again = open_experiment(directory, (), Silent(), home / "test")
        tested = test(again, prepared, trained, Inline(), made_from=made_from)
    epochs = [run.best_epoch for run in trained.runs]
    values = [run.metrics["macro_f1"] for run in trained.runs]
    runs = [
        {**one.metrics, "epoch": float(epoch), "chosen_by": best, "seconds": seconds, "cpu": cpu}
        for one, epoch, best in zip(tested.evaluations, epochs, values, strict=True)
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
