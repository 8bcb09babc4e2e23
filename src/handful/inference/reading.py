"""From documents to encoded rows, a window at a time, so that memory does not grow with them."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.errors import UserError
from handful.experiment.context import Experiment
from handful.inference.places import Found
from handful.inference.staging import NO_LABEL, Stage
from handful.inference.works import PROCESS, Copy, EncodeBatch, Failure, ProcessBatch, Rows
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.encoding.sampling import features_of
from handful.system.machine import cores
from handful.user_functions.load import Functions
from handful.user_functions.workers.messages import Setup
from handful.user_functions.workers.pool import Workers

FIRST, MOST, FEWEST = 256, 1024, 32
"""Documents of a window: of the first one, and of any other."""
WINDOW_BYTES = 256 << 20
"""What the files, and the encoded rows, of one window should not exceed."""
_BATCH = 64
"""Documents that a worker is given at once."""


@dataclass(frozen=True)
class Window:
    """Some documents in their order: what failed, and the rows of the others."""

    outcomes: tuple[tuple[str, Failure | None], ...]
    """Artifact id, and why it has no row (None: it has one), in the order of the documents."""
    rows: tuple[Rows, ...]


@dataclass
class Reader:
    """Runs the user's functions on documents, in worker processes that stay for the next call."""

    experiment: Experiment
    functions: Functions
    model: str
    label2id: Mapping[str, int]
    _features: Mapping[str, Any] = field(init=False)
    _most: int = field(init=False, default=FIRST)
    _one_went_well: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        settings = self.experiment.settings
        saved = features_of(self.functions, self.label2id, self.model, settings)
        self._features = saved.to_dict()
        self._processes = settings.prepare.NUM_PROCESSES or cores()
        directory = self.experiment.directory.absolute()
        setup = Setup(directory, settings, ("datasets",))
        scratch, memory = self.experiment.scratch, settings.prepare.WORKER_MEMORY
        self._workers = Workers(setup, scratch, self._processes, memory=memory)

    def close(self) -> None:
        """End the workers."""
        self._workers.__exit__()

    def windows(self, documents: Iterable[Found]) -> Iterator[Window]:
        """Every document in some window, in order.

        `UserError` if the functions cannot do without the label; `FunctionsError` if functions.py
        cannot be loaded; `Full` or `Unreachable` if the files cannot be had.
        """
        window: list[Found] = []
        size = 0
        for found in documents:
            window.append(found)
            size += sum(found.sizes.values())
            if len(window) >= self._most or size >= WINDOW_BYTES:
                yield self._read(window)
                window, size = [], 0
        if window:
            yield self._read(window)

    def _read(self, window: Sequence[Found]) -> Window:
        scratch = Path(tempfile.mkdtemp(dir=self.experiment.scratch, prefix="documents-"))
        try:
            return self._encode_window(window, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _encode_window(self, window: Sequence[Found], scratch: Path) -> Window:
        stage = Stage(self.experiment.settings, scratch, self.functions.has(PROCESS))
        faults = [stage.fault(found) for found in window]
        begun = [found for found, fault in zip(window, faults, strict=True) if not fault]
        failed, rows = self._try_documents(stage, begun)
        if not self._one_went_well:
            self._check_label(begun, failed, scratch)
        self._one_went_well = self._one_went_well or len(failed) < len(begun)
        self._learn(rows)
        outcomes = tuple(
            (found.id, Failure(fault) if fault else failed.get(found.id))
            for found, fault in zip(window, faults, strict=True)
        )
        return Window(outcomes, rows)

    def _try_documents(
        self, stage: Stage, begun: Sequence[Found], label: Any = NO_LABEL
    ) -> tuple[dict[str, Failure], tuple[Rows, ...]]:
        """Why documents failed, and the rows of the others."""
        failed: dict[str, Failure] = {}
        instances = []
        for one, instance in self._instances(stage, begun, label):
            if isinstance(instance, Failure):
                failed[one] = instance
            else:
                instances.append(instance)
        rows = tuple(self._encode(instances))
        for some in rows:
            failed |= some.failed
        return failed, rows

    def _instances(
        self, stage: Stage, begun: Sequence[Found], label: Any
    ) -> Iterator[tuple[str, Instance | Failure]]:
        local = all(isinstance(found.source.path(), Path) for found in begun)
        if local and not stage.processed and label is NO_LABEL:
            yield from ((found.id, stage.in_place(found)) for found in begun)
            return
        copies = stage.copy(begun, label)
        good = [copy for copy in copies.values() if isinstance(copy, Copy)]
        failed = self._process(good) if stage.processed else {}
        for one, copy in copies.items():
            if isinstance(copy, Failure):
                yield one, copy
            else:
                yield one, failed[one] if one in failed else stage.staged(copy)

    def _process(self, copies: Sequence[Copy]) -> dict[str, Failure]:
        works = [
            ProcessBatch(
                copies=tuple(part),
                store=self.experiment.store,
                patience=self.experiment.settings.reconcile.PROCESS_TIMEOUT,
            )
            for part in self._parts(copies)
        ]
        failed: dict[str, Failure] = {}
        for _, told in self._workers.run(works):
            failed |= told
        return failed

    def _encode(self, instances: Sequence[Instance]) -> Iterator[Rows]:
        works = [
            EncodeBatch(
                model=self.model,
                label2id=self.label2id,
                instances=tuple(part),
                patience=self.experiment.settings.prepare.ENCODE_TIMEOUT,
                features=self._features,
            )
            for part in self._parts(instances)
        ]
        for _, rows in self._workers.run(works):
            yield rows

    def _parts(self, things: Sequence[Any]) -> Iterator[Sequence[Any]]:
        size = max(1, min(_BATCH, math.ceil(len(things) / self._processes)))
        for start in range(0, len(things), size):
            yield things[start : start + size]

    def _learn(self, rows: Sequence[Rows]) -> None:
        """The next window holds as many documents as fit, by the size of these rows."""
        count = sum(len(some.ids) for some in rows)
        size = sum(some.table.nbytes for some in rows if some.table is not None)
        fit = WINDOW_BYTES * count // size if size else MOST
        self._most = max(FEWEST, min(MOST, fit))

    def _check_label(
        self, begun: Sequence[Found], failed: Mapping[str, Failure], scratch: Path
    ) -> None:
        """`UserError` if a document that failed goes well as soon as it has some label."""
        guilty = next((f for f in begun if f.id in failed and failed[f.id].where), None)
        if guilty is None or len(failed) < len(begun):
            return
        settings = self.experiment.settings
        folder = scratch / "with-a-label"
        folder.mkdir()
        stage = Stage(settings, folder, self.functions.has(PROCESS))
        again, _ = self._try_documents(stage, [guilty], next(iter(self.label2id)))
        if guilty.id in again:
            return
        failure = failed[guilty.id]
        raise UserError(
            f"it needs the document's label, which is None when predicting: {failure.what}",
            where=failure.where,
            remedy="read the label only where there is one (`if instance.label is not None`, or "
            "what process_func wrote of `artifact.label`); encode_data may leave `labels` out",
        )
