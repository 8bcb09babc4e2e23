"""Training against the usual scripts, on the same data, in one run.

    python bench/train.py speed [--texts licences|R8] [--tokens N] [--documents N] [--rounds N]
                                [--attention-dropout RATE]
    python bench/train.py evaluate [--documents N] [--rounds N]  against transformers.pipeline
    python bench/train.py r8    [--documents N] [--folder DIR]  Reuters R8, three seeds

speed: MiniLM-L6; all share attention, dropout, batch, epochs and threads. The model comes with a
dropout of 0.1, in its attention, too, for which torch has no fused way on a CPU; with
`--attention-dropout 0` it has. Every round runs each contestant once, in turn, in a process of its
own; ratios are of medians. "The maximum" of the padding is the longest document of the data, never
more than `--tokens` (512, the model's own, as a tokenizer takes it that is told nothing). On a
machine that others use, too, `taskset -c 0 python bench/train.py speed --by cpu` compares documents
by CPU second on one core (`evaluate`, too).
r8: the official split; settings in bench/r8_settings.ini, the model in bench/r8_functions.py.
`--documents` takes fewer, to try it.
With `--folder` the work stays there, and the same command goes on with it after an interruption;
`--seed` (again and again) trains only some of the seeds, and the table is of those.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train_parts import encoded, evaluating, licences, r8
from train_parts.contestants import CONTESTANTS

ROOT = Path(__file__).parents[1]
MODEL = "all-MiniLM-L6-v2"
MAX_TOKENS = {"evaluate": 512, "r8": 128}
SPEED = "EPOCHS = 1\nBATCH_SIZE = 16\nLEARNING_RATE = 2e-4\nMETRIC = accuracy\n"
GOAL_R8 = 0.975
BAR_EVALUATE = 2.0

MAXIMUM, GROUPED, GROUPED_BF16, FP32, BF16, AUTO, TRAINER_TWO, TWO = CONTESTANTS
BARS = (
    (FP32, MAXIMUM, 2.0),
    (FP32, GROUPED, 1.0),
    (BF16, GROUPED_BF16, 1.0),
    (AUTO, GROUPED, 1.3),
    (AUTO, MAXIMUM, None),
    (TWO, FP32, None),
    (TWO, TRAINER_TWO, 1.0),
)


@dataclass(frozen=True)
class Sample:
    """One contestant's run."""

    pace: float
    """Documents a second."""
    frugality: float
    """Documents a CPU second; 0 if it is not known."""
    peak: float
    """Megabytes of the largest process."""
    result: Mapping[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=("speed", "evaluate", "r8"))
    parser.add_argument("--texts", choices=("licences", "R8"), default="licences")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--by", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--attention-dropout", type=float, help="instead of the model's own")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seed", type=int, action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.what == "speed":
            two = () if options.by == "wall" else (TWO, TRAINER_TWO)
            names = [name for name in CONTESTANTS if name not in two]
            number = options.documents or 480
            splits = _texts(scratch, options.texts, number)
            told = f"{number} documents of {options.texts}, at most {options.tokens} tokens"
            model = _model(scratch)
            if options.attention_dropout is not None:
                told += f", attention dropout {options.attention_dropout:g}"
                _set(model, attention_probs_dropout_prob=options.attention_dropout)
            print(f"{told}, one epoch, {MODEL}; {options.rounds} rounds", flush=True)
            directory = scratch / "EXP"
            encoded.write(directory, model, splits, options.tokens, SPEED)
            return speed(_rounds(directory, options.rounds, names), options.by)
        if options.what == "evaluate":
            number, model = options.documents or 320, _model(scratch)
            corpora = {
                "R8": r8.texts(scratch)["test"][:number],
                "licences": licences.texts(scratch, number, 16)["train"],
            }
            found = [
                evaluate(model, name, [text.text for text in texts], options.rounds, options.by)
                for name, texts in corpora.items()
            ]
            return max(found)
        kept: Path = options.folder or scratch
        return on_r8(scratch, kept, options.documents, options.seed)


def _model(folder: Path) -> Path:
    """The model's directory below `folder`."""
    model = folder / "models" / MODEL
    if not model.is_dir():
        command = [sys.executable, str(ROOT / "examples/get_model.py"), str(folder / "models")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return model


def _set(model: Path, **values: float) -> None:
    """Write `values` into the model's configuration."""
    config = model / "config.json"
    told = json.loads(config.read_text()) | values
    config.unlink()  # it may be a link to the package's own
    config.write_text(json.dumps(told))


def _texts(scratch: Path, name: str, number: int) -> Mapping[str, Sequence[encoded.Text]]:
    test = min(number, 160)
    if name == "licences":
        return licences.texts(scratch, number, test)
    splits = r8.texts(scratch)
    sizes = {"train": number, "validation": 16, "test": test}
    return {split: random.Random(0).sample(splits[split], size) for split, size in sizes.items()}


def _rounds(directory: Path, rounds: int, names: Sequence[str]) -> Mapping[str, Sequence[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            samples[name].append(_run(name, directory))
            print(f"  … {name}: {samples[name][-1].pace:.1f} documents/s", flush=True)
    return samples


def speed(samples: Mapping[str, Sequence[Sample]], by: str) -> int:
    paces = {
        name: statistics.median(s.pace if by == "wall" else s.frugality for s in found)
        for name, found in samples.items()
    }
    for name, found in samples.items():
        print(_line(name, paces[name], by, found))
    missed = 0
    for mine, theirs, bar in BARS:
        if mine not in paces:
            continue
        ratio = paces[mine] / paces[theirs]
        verdict = "" if bar is None else f"   bar {bar}: {'kept' if ratio >= bar else 'MISSED'}"
        missed += bar is not None and ratio < bar
        print(f"  {mine} / {theirs:40} {ratio:5.2f}{verdict}")
    peaks = {name: statistics.median(s.peak for s in found) for name, found in samples.items()}
    for mine, theirs in ((FP32, GROUPED), (BF16, GROUPED_BF16)):
        higher = peaks[mine] > peaks[theirs]
        missed += higher
        word = "MISSED" if higher else "kept"
        print(f"  {mine}: peak {peaks[mine]:.0f} MB, theirs {peaks[theirs]:.0f} MB: {word}")
    return int(missed > 0)


def evaluate(model: Path, name: str, texts: Sequence[str], rounds: int, by: str) -> int:
    longest = MAX_TOKENS["evaluate"]
    print(
        f"{len(texts)} documents of {name}, at most {longest} tokens; {rounds} rounds", flush=True
    )
    clock = time.perf_counter if by == "wall" else time.process_time
    found = evaluating.paces(model, texts, longest, rounds, clock)
    for name, pace in found.items():
        print(f"  {name:32} {pace:6.1f} documents a second ({by})")
    ratio = found["handful"] / found["transformers.pipeline"]
    print(
        f"  ratio {ratio:.2f}   bar {BAR_EVALUATE}: {'kept' if ratio >= BAR_EVALUATE else 'MISSED'}"
    )
    return int(ratio < BAR_EVALUATE)


def _run(name: str, directory: Path) -> Sample:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "train_parts.contestants", name, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}:\n{err[-3000:]}")
    result = json.loads(out.strip().splitlines()[-1])
    documents, cpu = result["documents"], result["cpu"]
    frugality = documents / cpu if cpu else 0.0
    return Sample(documents / result["seconds"], frugality, result["peak"], result)


def _line(name: str, pace: float, by: str, found: Sequence[Sample]) -> str:
    all_of_them = [s.pace if by == "wall" else s.frugality for s in found]
    least, most = min(all_of_them), max(all_of_them)
    unit = "documents/s" if by == "wall" else "documents/CPU s"
    accuracy = statistics.median(s.result["accuracy"] for s in found)
    padding = found[0].result.get("padding")
    more = "" if padding is None else f"   padding {padding:.1%}"
    return (
        f"  {name:32} {pace:6.1f} {unit} ({least:.1f} to {most:.1f})   "
        f"peak {statistics.median(s.peak for s in found):5.0f} MB   accuracy {accuracy:.3f}{more}"
    )


def on_r8(scratch: Path, kept: Path, documents: int | None, seeds: Sequence[int] | None) -> int:
    from handful.backends.local import Local
    from handful.cli.console import listener
    from handful.experiment.context import open_experiment
    from handful.steps.test import test
    from handful.steps.train import train

    directory = kept / "EXP-R8"
    if not encoded.is_written(directory):
        splits = {name: texts[:documents] for name, texts in r8.texts(scratch).items()}
        here = Path(__file__).parent
        told = [(here / name).read_text() for name in ("r8_settings.ini", "r8_functions.py")]
        encoded.write(directory, _model(kept), splits, MAX_TOKENS["r8"], *told)
    asked = (f"train.SEEDS={', '.join(map(str, seeds))}",) if seeds else ()
    experiment = open_experiment(directory, asked, listener(False), scratch)
    record = encoded.prepared(directory)
    print(", ".join(f"{k} {v:,}" for k, v in record.rows[MODEL].items()), flush=True)
    trained = train(experiment, record, Local(), made_from={})
    tested = test(experiment, record, trained, Local(), made_from={})
    found = [one.metrics["accuracy"] for one in tested.evaluations]
    mean, spread = statistics.fmean(found), statistics.pstdev(found)
    kept = mean >= GOAL_R8
    print(f"R8 accuracy by seed: {', '.join(f'{value:.4f}' for value in found)}")
    print(f"  mean {mean:.4f}, spread {spread:.4f}; goal {GOAL_R8}: {'kept' if kept else 'MISSED'}")
    print(f"  {sum(run.seconds for run in trained.runs):.0f} s of training")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
