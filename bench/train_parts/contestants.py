"""Who trains: the usual scripts with Trainer, and handful. Each in a process of its own.

    python -m train_parts.contestants NAME DIRECTORY

prints one JSON line: documents, seconds of training and its CPU seconds (the import of libraries
and the loading of the model left out; CPU seconds of several processes are not known), accuracy on
the test split, and the padding's share of all positions.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from handful.settings import read_settings
from train_parts.encoded import encoded_folder, prepared

Result = dict[str, Any]


def trainer(directory: Path, *, to_maximum: bool, precision: str = "fp32") -> Result:
    """The well-known classification script: Trainer as it comes, with one of its two paddings."""
    import numpy as np
    import torch
    from datasets import load_from_disk
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    world = int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(len(os.sched_getaffinity(0)) // world)
    settings = read_settings(directory)
    section, model_name = settings.train, settings.train.MODEL_NAMES[0]
    record, folder = prepared(directory), encoded_folder(directory) / Path(model_name).name
    splits = {name: load_from_disk(str(folder / name)) for name in ("train", "test")}
    longest = max(max(split["length"]) for split in splits.values())
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    padding: Mapping[str, Any] = (
        {"padding": "max_length", "max_length": longest} if to_maximum else {"padding": True}
    )
    set_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        model_name,
        num_labels=len(record.label2id),
        ignore_mismatched_sizes=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        mine = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                num_train_epochs=section.EPOCHS,
                per_device_train_batch_size=section.BATCH_SIZE // world,
                per_device_eval_batch_size=section.BATCH_SIZE // world,
                learning_rate=section.LEARNING_RATE,
                warmup_steps=section.WARMUP,
                weight_decay=section.WEIGHT_DECAY,
                bf16=precision == "bf16",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                train_sampling_strategy="random" if to_maximum else "group_by_length",
                length_column_name="length",
            ),
            train_dataset=splits["train"],
            eval_dataset=splits["test"],
            data_collator=DataCollatorWithPadding(tokenizer, **padding),
            compute_metrics=lambda found: {
                "accuracy": float((np.argmax(found.predictions, 1) == found.label_ids).mean())
            },
        )
        began, cpu = time.perf_counter(), time.process_time()
        mine.train()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        accuracy = mine.evaluate()["eval_accuracy"]
    documents = len(splits["train"]) * section.EPOCHS
    return {"documents": documents, "seconds": seconds, "cpu": cpu, "accuracy": accuracy}


def trainer_by_torchrun(directory: Path, *, processes: int) -> Result:
    """The same script with `group_by_length`, a process for each core."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "train_parts.contestants"]
    done = subprocess.run(
        [*command, "Trainer, group_by_length", str(directory)], stdout=subprocess.PIPE, check=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(b'{"documents"')]
    told: Result = max(map(json.loads, lines), key=lambda line: line["seconds"])
    return {**told, "cpu": 0.0}


def ours(directory: Path, *, precision: str = "fp32", processes: int = 1) -> Result:
    """handful's own steps, as `handful train` and `handful test` call them."""
    from handful.backends.inline import Inline
    from handful.backends.local import Local
    from handful.experiment.context import open_experiment
    from handful.progress import Silent
    from handful.steps.test import test
    from handful.steps.train import train

    with tempfile.TemporaryDirectory() as scratch:
        overrides = (
            f"train.PRECISION={precision}",
            f"compute.TRAIN_PROCESSES={processes}",
            f"experiment.STORE={_copy_of_store(directory, Path(scratch))}",
        )
        experiment = open_experiment(directory, overrides, Silent(), Path(scratch))
        record = prepared(directory)
        backend = Inline() if processes == 1 else Local()
        cpu: list[float] = []
        with _counted(cpu):
            trained = train(experiment, record, backend, made_from={})
        tested = test(experiment, record, trained, backend, made_from={})
        final = experiment.layout.final(trained.runs[0].model, trained.runs[0].seed)
        told = json.loads(experiment.store.read(f"{final}/handful.json"))
    return {
        "documents": round(told["rows"]["train"] * told["epochs"]),
        "seconds": told["seconds"],
        "cpu": sum(cpu),
        "accuracy": tested.evaluations[0].metrics["accuracy"],
        "padding": told["padding"],
        "precision": told["environment"]["precision"],
    }


@contextmanager
def _counted(cpu: list[float]) -> Iterator[None]:
    """The CPU seconds of a training in this process, without the loading of libraries and model."""
    from handful.training.loop.loop import Loop

    run = Loop.run

    def counted(loop: Loop) -> Any:
        began = time.process_time()
        try:
            return run(loop)
        finally:
            cpu.append(time.process_time() - began)

    Loop.run = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Loop.run = run  # type: ignore[method-assign]


def _copy_of_store(directory: Path, scratch: Path) -> Path:
    """A store of its own for each run, with the same encoded data."""
    import shutil

    store = scratch / "store"
    shutil.copytree(directory.parent / "store", store, ignore=shutil.ignore_patterns("results"))
    return store


CONTESTANTS: Mapping[str, Callable[[Path], Result]] = {
    "Trainer, padded to the maximum": partial(trainer, to_maximum=True),
    "Trainer, group_by_length": partial(trainer, to_maximum=False),
    "Trainer, group_by_length, bf16": partial(trainer, to_maximum=False, precision="bf16"),
    "handful, fp32": partial(ours, precision="fp32"),
    "handful, bf16": partial(ours, precision="bf16"),
    "handful, PRECISION = auto": partial(ours, precision="auto"),
    "Trainer, fp32, two processes": partial(trainer_by_torchrun, processes=2),
    "handful, fp32, two processes": partial(ours, precision="fp32", processes=2),
}


if __name__ == "__main__":
    found = CONTESTANTS[sys.argv[1]](Path(sys.argv[2]))
    mine, children = (
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({**found, "peak": max(mine, children)}), flush=True)
