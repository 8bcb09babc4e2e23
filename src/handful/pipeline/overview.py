"""How far an experiment is, all of it: what `handful status` shows. Reads the store only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handful.errors import Absent, Damaged, HandfulError
from handful.experiment.context import Experiment
from handful.experiment.forgotten import refuse_half_forgotten, since_then
from handful.experiment.kept_models import ModelStore
from handful.experiment.store_format import is_marked
from handful.pipeline.open_backend import open_backend
from handful.pipeline.progress_file import StepProgress, read_progress
from handful.pipeline.step import State
from handful.pipeline.step_status import find_holders, in_progress, states
from handful.pipeline.steps import STEPS
from handful.records import Compared, Prepared, Reconciled, Record, Reported, Trained
from handful.records.moments import age


@dataclass(frozen=True)
class StepOverview:
    """One step, as a person asks about it."""

    step: str
    state: str
    """`up to date`, `to do`, `in progress`, `cut off` or `damaged`."""
    finished_at: str | None
    """ISO 8601, UTC; None: never."""
    reasons: tuple[str, ...]
    """Why it has to run; or what is wrong with its files."""
    at_work: tuple[str, ...]
    """Who is, or was and died of it."""

    @property
    def last_done(self) -> str:
        return age(self.finished_at) if self.finished_at else "never"

    @property
    def lines(self) -> list[str]:
        """All there is to say, the most telling first."""
        return [*(self.reasons or ("up to date",)), *self.at_work]


@dataclass(frozen=True)
class BestModel:
    """The model that compare has chosen; before that, the best on validation."""

    model: str
    metric: str
    validation: float | None
    test: float | None = None
    low: float | None = None
    """Of the 95 % interval of `test`."""
    high: float | None = None
    beats_baseline: bool | None = None
    baselines: tuple[tuple[str, float | None], ...] = ()
    """Name and value on test, the best on validation first."""


@dataclass(frozen=True)
class KeptModels:
    """Trained models that newer ones have replaced, behind those; a table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]


@dataclass(frozen=True)
class Overview:
    """An experiment at one moment."""

    name: str
    directory: str
    url: str
    """Of its store."""
    steps: tuple[StepOverview, ...]
    progress: StepProgress | None
    """Of the step under way, if it has told any yet."""
    kept: int | None
    """Artifacts."""
    labels: int | None
    splits: Mapping[str, Mapping[str, int]]
    """Model → split → rows."""
    best: BestModel | None
    dollars: float | None
    """What the managed jobs have cost, about; None: nothing, or nobody knows."""
    managed: bool
    """Do steps run on machines that are paid for?"""
    report: str | None
    """Its URL."""
    models: KeptModels | None
    forgotten: str = ""
    """How many documents `handful forget` has removed; empty if none."""
    damage: tuple[State, ...] = ()
    """The steps whose files are not as they were left."""

    @property
    def is_done(self) -> bool:
        """Is every step up to date, and nobody at work?"""
        return all(one.state == "up to date" for one in self.steps)

    @property
    def next(self) -> str:
        """What a person would do now."""
        found = {one.state for one in self.steps}
        if "damaged" in found:
            return self.damage[0].damage[0].fault.remedy
        if "in progress" in found:
            return f"wait; `handful status {self.directory} --watch` shows how it goes on"
        if "cut off" in found:
            return f"`handful run {self.directory}` goes on where it was cut off"
        if all(one.finished_at is None for one in self.steps):
            return f"`handful check {self.directory}`, then `handful run {self.directory}`"
        if "to do" in found:
            return f"`handful run {self.directory}`"
        return f"read the report; `handful predict {self.directory} PATH` uses the model"

    def to_json(self) -> dict[str, Any]:
        """Its values for JSON; `title`, `columns` and `rows` are the steps as a table."""
        rows = []
        for one in self.steps:
            first, *others = one.lines
            rows.append([one.step, one.last_done, first])
            rows += [["", "", other] for other in others]
        told = asdict(self)
        del told["damage"]
        return {
            "format": 1,
            "title": self.url,
            "columns": ["step", "last done", "state"],
            "rows": rows,
            **told,
            "done": self.is_done,
            "next": self.next,
        }


def find_overview(experiment: Experiment, *, verify: bool = False) -> Overview:
    """Look at the store; `verify`: at the content of every file that a record names."""
    refuse_half_forgotten(experiment.store, experiment.directory)
    is_marked(experiment.store)  # what another program's store holds is not "up to date"
    busy = in_progress(experiment, STEPS)
    found = states(experiment, STEPS, verify=verify)
    steps = tuple(_of_step(experiment, one, busy.get(one.step, [])) for one in found)
    records = {one.step: one.record for one in found if one.record}
    reconciled, prepared = records.get("reconcile"), records.get("prepare")
    reported = records.get("report")
    managed = open_backend(experiment).managed_steps
    return Overview(
        name=experiment.settings.experiment.NAME,
        directory=_as_typed(experiment.directory),
        url=experiment.store.url,
        steps=steps,
        progress=_progress_of(experiment, steps),
        kept=reconciled.kept if isinstance(reconciled, Reconciled) else None,
        labels=len(reconciled.labels) if isinstance(reconciled, Reconciled) else None,
        splits=prepared.rows if isinstance(prepared, Prepared) else {},
        best=_best_model(experiment, records.get("compare"), records.get("train")),
        dollars=_dollars(experiment, records) if managed else None,
        managed=bool(managed),
        report=f"{experiment.store.url}/{reported.key}" if isinstance(reported, Reported) else None,
        models=_kept_models(experiment),
        forgotten=since_then(experiment.store),
        damage=tuple(one for one in found if one.damage),
    )


def _as_typed(directory: Path) -> str:
    """As somebody would name it from here."""
    here = Path.cwd()
    return str(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def _of_step(experiment: Experiment, state: State, at_work: list[str]) -> StepOverview:
    url = experiment.store.url
    damage = [f"{one.fault.where.removeprefix(f'{url}/')} {one.fault.what}" for one in state.damage]
    reasons = (*damage, *(f"to do: {one}" for one in state.reasons))
    word = "to do" if state.reasons else "up to date"
    if damage:
        word = "damaged"
    if any("cut off" in one for one in at_work):
        word = "cut off"
    if any(one.startswith("in progress") for one in at_work):
        word = "in progress"
    finished = state.record.finished_at if state.record else None
    return StepOverview(state.step, word, finished, reasons, tuple(at_work))


def _progress_of(experiment: Experiment, steps: tuple[StepOverview, ...]) -> StepProgress | None:
    for one in steps:
        if one.state == "in progress":
            step = next(step for step in STEPS if step.name == one.step)
            for holder in find_holders(experiment.store, step.locked_at(experiment)):
                return read_progress(experiment.store, one.step, holder.since)
    return None


def _best_model(experiment: Experiment, compared: Any, trained: Any) -> BestModel | None:
    metric = experiment.settings.train.METRIC
    if isinstance(compared, Compared):
        try:
            told = json.loads(experiment.store.read(experiment.layout.comparison))
            return _from_comparison(told, compared)
        except (Absent, Damaged, ValueError, KeyError, TypeError, StopIteration):
            return None
    if isinstance(trained, Trained):
        sign = -1 if experiment.settings.train.METRIC_GOAL == "min" else 1
        values = [(one.metrics.get(metric), one) for one in trained.runs]
        known = [(sign * value, one.model, value) for value, one in values if value is not None]
        if known:
            _, model, value = max(known)
            return BestModel(model, metric, value)
    return None


def _from_comparison(told: Mapping[str, Any], compared: Compared) -> BestModel:
    metric = told["metric"]
    winner = next(one for one in told["ranking"] if one["model"] == compared.winner)
    on_test = winner["metrics"].get(metric) or {}
    baselines = [one for one in told["ranking"] if one["baseline"]]
    return BestModel(
        compared.winner,
        metric,
        (winner.get("validation") or {}).get("mean"),
        on_test.get("value"),
        on_test.get("low"),
        on_test.get("high"),
        compared.beats_baseline,
        tuple((one["model"], (one["metrics"].get(metric) or {}).get("value")) for one in baselines),
    )


_SPENT: dict[tuple[str, ...], float | None] = {}
"""What records have cost, by url and moments: whoever watches does not ask for prices each time."""


def _dollars(experiment: Experiment, records: Mapping[str, Record]) -> float | None:
    from handful.sagemaker.jobs.costs.spent import spent_on

    place = (experiment.store.url, *(one.finished_at for one in records.values()))
    if place not in _SPENT:
        managed = open_backend(experiment).managed_steps
        try:
            said = spent_on(experiment.settings, records, managed)
        except HandfulError:  # a type is missing, or AWS does not answer: status goes without
            return None
        _SPENT[place] = round(said.dollars, 2) if said.lines and said.is_whole else None
    return _SPENT[place]


def _kept_models(experiment: Experiment) -> KeptModels | None:
    metric = experiment.settings.train.METRIC
    rows = tuple(
        (
            one.fingerprint,
            one.model,
            str(one.seed),
            one.state,
            age(one.finished_at) if one.finished_at else "",
            one.record["metrics"].get(metric),
        )
        for one in ModelStore(experiment.store, experiment.layout).list_replaced()
    )
    columns = ("run", "model", "seed", "state", "trained", metric)
    return KeptModels(columns, rows) if rows else None
