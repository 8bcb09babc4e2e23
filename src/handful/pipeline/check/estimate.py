"""How much a run has to do, how long that takes, and how much disk: reckoned, not looked up.

Times come from what check has just measured on this machine, or from the record of the step's last
run where there is one. Both are taken as ranges. The high end: every document is as slow as those
that were tried, which are the largest of the first thirty, and nothing is faster for being done in
larger batches. The low end: documents are as large as the thirty on the whole, and batches help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from handful.layout import model_folder
from handful.pipeline.check.plan import PlannedWork, Span
from handful.pipeline.step import State
from handful.records import Prepared, Reconciled
from handful.sagemaker.jobs.costs.durations import FORWARD_SHARE, Pace
from handful.settings import Settings
from handful.settings.recipe import Facts, by_data
from handful.system.machine import cores

BATCHES_HELP = {"cpu": 2.0, "cuda": 10.0}
"""By how much a full batch may be faster, a document, than the three of check; per device."""
COPIES_HELP = 8.0
"""By how much copies side by side may be faster than the few of check."""
PRUNED = 0.25
"""So little of all trials' work may be done, since those that promise nothing are ended."""
_AGAIN = Span(0.7, 1.5)
"""How much shorter or longer the same work may take the next time."""
_BYTES_OF = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class RehearsedModel:
    """What three documents and two steps have shown of one model."""

    encode_seconds: tuple[float, ...]
    """Of each document that was tried."""
    row_bytes: Span
    """Of an encoded document: by the size of the thirty's, and as large as those tried."""
    pace: Pace | None = None
    """Of a training on the documents that were tried; None: it could not be trained."""
    device: str = "cpu"
    parameters: int = 0
    checkpoint_bytes: int = 0
    checkpoints_at_once: int = 0


@dataclass(frozen=True)
class Rehearsed:
    """What was measured; None or empty where nothing could be."""

    artifacts: int | None = None
    """How many the run will have."""
    word: str = ""
    """`about ` or `at least `, before that number, if production was not read to its end."""
    artifact_bytes: float | None = None
    """Of the files of one in the store, those of process_func too."""
    copy_seconds: float | None = None
    """Of one, among the few that check has copied."""
    copied: int = 1
    """How many these were."""
    start_seconds: float = 0.0
    """What it takes to load the libraries, as each worker does."""
    smaller: float = 1.0
    """How large a document is as a rule, as a share of those that were tried."""
    models: Mapping[str, RehearsedModel] = field(default_factory=dict)
    """By the model's folder."""


@dataclass(frozen=True)
class Reckoning:
    """The estimates of one experiment."""

    settings: Settings
    seen: Rehearsed
    states: Sequence[State]
    paces: Mapping[str, Pace] = field(default_factory=dict)
    """By the model's folder: of earlier trainings in this store, which know more than check."""
    is_remote: bool = False
    """Is the store reached over a network, so that inputs are fetched to scratch?"""

    def work(self) -> tuple[PlannedWork, ...]:
        """Every step's, in their order."""
        plans = {
            "reconcile": self._reconcile,
            "prepare": self._prepare,
            "tune": self._tune,
            "train": self._train,
            "test": self._test,
        }
        return tuple(
            PlannedWork(state.step, (), "nothing: up to date", None)
            if state.up_to_date
            else plans.get(state.step, self._other)(state)
            for state in self.states
        )

    # --- how much there is -----------------------------------------------------------------------

    @property
    def documents(self) -> int | None:
        """Artifacts that are encoded; None: nobody knows."""
        most, count = self.settings.prepare.MAX_ARTIFACTS, self.seen.artifacts
        return min(count, most) if count is not None and most else count

    @property
    def split_sizes(self) -> tuple[int, int, int] | None:
        """Documents to train on, to validate and to test with."""
        prepared = self._record("prepare")
        if isinstance(prepared, Prepared) and prepared.rows and self._is_up_to_date("prepare"):
            rows = list(prepared.rows.values())
            train, validation, test = (
                max(one.get(split, 0) for one in rows) for split in ("train", "validation", "test")
            )
            return train, validation, test
        count = self.documents
        if count is None:
            return None
        train, validation, test = (round(count * share) for share in self.settings.prepare.SPLIT)
        return train, validation, test

    def _record(self, step: str) -> object:
        return next((one.record for one in self.states if one.step == step), None)

    def _is_up_to_date(self, step: str) -> bool:
        return any(one.step == step and one.up_to_date for one in self.states)

    @property
    def _count(self) -> str:
        known = self.documents
        return "an unknown number of" if known is None else f"{self.seen.word}{known:,}"

    # --- the steps -------------------------------------------------------------------------------

    def _reconcile(self, state: State) -> PlannedWork:
        seen, count = self.seen, self.seen.artifacts
        before = state.record
        if isinstance(before, Reconciled):
            work = f"compare production with the {before.kept:,} artifacts here; copy what changed"
            all_bytes = (seen.artifact_bytes or 0) * before.kept
            again = Span(0.1 * before.seconds, _AGAIN.high * before.seconds)
            source = "the last reconcile"
            return PlannedWork(state.step, state.reasons, work, again, source, Span(0, all_bytes))
        if count is None or seen.artifact_bytes is None:
            return PlannedWork(state.step, state.reasons, "copy the artifacts", None)
        all_bytes = seen.artifact_bytes * count
        work = f"copy {seen.word}{count:,} artifacts, {describe_bytes(all_bytes)}"
        seconds: Span | None = None
        if seen.copy_seconds is not None:
            # As long as the few took, at least; and as if the many went one by one, at most.
            slow = seen.copy_seconds * max(count, seen.copied)
            quick = seen.copy_seconds * max(count / COPIES_HELP, 1)
            seconds = Span(min(quick, slow), slow + seen.start_seconds)
        source = f"{seen.copied} artifacts that were copied here"
        return PlannedWork(
            state.step, state.reasons, work, seconds, source, Span(0.8, 1.25).times(all_bytes)
        )

    def _prepare(self, state: State) -> PlannedWork:
        count, models = self.documents, self.settings.train.MODEL_NAMES
        work = f"encode {self._count} documents for {count_of(len(models), 'model')}"
        before, tried = state.record, self.seen.models
        if count is None or not tried:
            return PlannedWork(state.step, state.reasons, work, None)
        size = sum((one.row_bytes for one in tried.values()), Span(0, 0)).times(count)
        inputs = (self.seen.artifact_bytes or 0) * count if self.is_remote else 0
        scratch = size + Span(inputs, inputs)
        if isinstance(before, Prepared) and before.seconds:
            rows = max((sum(one.values()) for one in before.rows.values()), default=0)
            seconds = _AGAIN.times(before.seconds * count / max(1, rows))
            source = "the last prepare"
        else:
            mean = sum(_mean_seconds(one.encode_seconds) for one in tried.values())
            worst = sum(max(one.encode_seconds) for one in tried.values())
            workers = self.settings.prepare.NUM_PROCESSES or cores()
            started = self.seen.start_seconds * len(tried)
            seconds = Span(
                count * mean * self.seen.smaller / workers,
                1.5 * count * worst / workers + started + 1,
            )
            source = "three documents that were encoded here"
        return PlannedWork(state.step, state.reasons, work, seconds, source, size, scratch)

    def _tune(self, state: State) -> PlannedWork:
        section = self.settings.tune
        if not section.is_asked:
            return PlannedWork(state.step, state.reasons, "nothing: no [tune] TRIALS", None)
        models = len(self.settings.train.MODEL_NAMES)
        trials = f"up to {section.TRIALS:,} trials" if section.TRIALS else "trials"
        until = f" within {section.TUNE_TIME / 60:g} min" if section.TUNE_TIME else ""
        work = f"{trials}{until} for {count_of(models, 'model')}"
        one = self._training(most_epochs=True)
        if one is None:
            return PlannedWork(state.step, state.reasons, work, None)
        if section.TUNE_TIME:
            all_of_it = Span(section.TUNE_TIME * models, section.TUNE_TIME * models + one.high)
            if section.TRIALS:
                most = section.TRIALS * one.high
                all_of_it = Span(
                    min(all_of_it.low, PRUNED * section.TRIALS * one.low), min(all_of_it.high, most)
                )
        else:
            all_of_it = Span(PRUNED * one.low, one.high).times(section.most_trials)
        together = section.PARALLEL
        seconds = Span(all_of_it.low / together, all_of_it.high)
        return PlannedWork(
            state.step,
            state.reasons,
            work,
            seconds,
            self._pace_source(),
            self._checkpoints(),
            self._checkpoints(),
        )

    def _train(self, state: State) -> PlannedWork:
        names, seeds = self.settings.train.MODEL_NAMES, self.settings.train.SEEDS
        sizes = self.split_sizes
        rows = "" if sizes is None else f" on {self.seen.word}{sizes[0]:,} documents"
        epochs = {f"{value:g}" for model in names if (value := self._epochs(model)) is not None}
        passes = f", {' or '.join(sorted(epochs))} epochs" if epochs else ""
        work = f"{count_of(len(names), 'model')} x {count_of(len(seeds), 'seed')}{rows}{passes}"
        one_seed = self._training()
        seconds = None if one_seed is None else one_seed.times(len(seeds))
        finals = self._final_bytes() * len(seeds)
        store = self._checkpoints() + Span(finals, finals)
        return PlannedWork(
            state.step,
            state.reasons,
            work,
            seconds,
            self._pace_source(),
            store,
            self._checkpoints(),
        )

    def _test(self, state: State) -> PlannedWork:
        runs = len(self.settings.train.MODEL_NAMES) * len(self.settings.train.SEEDS)
        sizes = self.split_sizes
        rows = "" if sizes is None else f" on {self.seen.word}{sizes[2]:,} documents, once"
        work = f"try {count_of(runs, 'trained model')} and the baselines{rows}"
        before = state.record
        if before is not None and before.seconds:
            seconds = _AGAIN.times(before.seconds)
            return PlannedWork(state.step, state.reasons, work, seconds, "the last test")
        found = self._paces()
        if sizes is None or not found:
            return PlannedWork(state.step, state.reasons, work, None)
        # The validation split, too, for the temperature and the label review.
        examples = FORWARD_SHARE * (sizes[1] + sizes[2])
        spans = [self._span_of(pace, model, examples) for model, pace in found.items()]
        started = Span(self.seen.start_seconds / 2, 4 * self.seen.start_seconds + 5)
        seconds = sum(spans, Span(0, 0)).times(len(self.settings.train.SEEDS)) + started
        return PlannedWork(state.step, state.reasons, work, seconds, self._pace_source())

    def _other(self, state: State) -> PlannedWork:
        work = {"compare": "rank the models", "report": "write the report"}[state.step]
        before = state.record
        if before is None or not before.seconds:
            return PlannedWork(state.step, state.reasons, work, None)
        seconds, source = _AGAIN.times(before.seconds), f"the last {state.step}"
        return PlannedWork(state.step, state.reasons, work, seconds, source)

    # --- training --------------------------------------------------------------------------------

    def _paces(self) -> dict[str, Pace]:
        """By the model's folder: an earlier training's, else that of check."""
        tried = {name: one.pace for name, one in self.seen.models.items() if one.pace is not None}
        return {**tried, **self.paces}

    def _pace_source(self) -> str:
        return "; ".join(sorted({pace.source for pace in self._paces().values()}))

    def _epochs(self, model: str, *, most: bool = False) -> float | None:
        said, sizes = self.settings.train_for(model).EPOCHS, self.split_sizes
        if said is None:
            said = by_data(Facts(sizes[0], 0)).epochs if sizes else None
        for one in self.settings.tune.ranges if most else ():
            if one.key == "EPOCHS":
                values = [float(str(value)) for value in one.choices if value is not None]
                said = max([*values, one.high or 0.0]) or said
        return said

    def _training(self, *, most_epochs: bool = False) -> Span | None:
        """Of every model, once, one after the other."""
        paces, sizes = self._paces(), self.split_sizes
        if sizes is None or not paces:
            return None
        found = Span(0, 0)
        for model in self.settings.train.MODEL_NAMES:
            pace, epochs = paces.get(model_folder(model)), self._epochs(model, most=most_epochs)
            if pace is None or epochs is None:
                return None
            examples = epochs * (sizes[0] + FORWARD_SHARE * sizes[1])
            started = Span(self.seen.start_seconds / 2, 3 * self.seen.start_seconds + 2)
            found += self._span_of(pace, model_folder(model), examples) + started
        return found

    def _span_of(self, pace: Pace, folder: str, examples: float) -> Span:
        planned = self.settings.compute.TRAIN_PROCESSES or pace.processes
        seconds = examples / (pace.examples_per_second * planned / pace.processes)
        if folder in self.paces:
            return _AGAIN.times(seconds)
        device = self.seen.models[folder].device
        return Span(seconds * self.seen.smaller / BATCHES_HELP.get(device, 4.0), seconds)

    def _checkpoints(self) -> Span:
        """The bytes of one training's, at their most; trainings go one after the other."""
        models = self.seen.models.values()
        one = max((m.checkpoint_bytes for m in models), default=0)
        most = max((m.checkpoint_bytes * m.checkpoints_at_once for m in models), default=0)
        return Span(one, most)

    def _final_bytes(self) -> float:
        """Of every model, once."""
        each = [
            self.seen.models[model_folder(model)].parameters
            * _BYTES_OF.get(self.settings.train_for(model).FINAL_DTYPE, 4)
            for model in self.settings.train.MODEL_NAMES
            if model_folder(model) in self.seen.models
        ]
        return float(sum(each))


def by_jobs(one: PlannedWork, times: Mapping[str, float]) -> PlannedWork:
    """As jobs on managed machines do it: in their own time, and not on this machine's disk."""
    known, nothing = times.get(one.step), Span(0, 0)
    seconds = None if known is None or not one.reasons else _AGAIN.times(known)
    return replace(one, seconds=seconds, source="the jobs' forecast", scratch_bytes=nothing)


def _mean_seconds(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def count_of(number: int, what: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def describe_bytes(size: float) -> str:
    """As a person says it: 12 kB, 3.4 MB, 120 GB."""
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            number = size / least
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{size:.0f} bytes"
