"""What each task of a worker is told beside the settings: one type a task, and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Self

from handful.layout import Layout, model_folder


@dataclass(frozen=True)
class Arguments:
    """JSON values only. Whoever follows a job knows it by their text: a field that comes later is
    left out of it where it says nothing."""

    task: ClassVar[str]
    """Its name in job files, and for people."""

    @property
    def about(self) -> str:
        """What is done, for whoever takes part in it."""
        return ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """TypeError or KeyError if `raw` is nothing that `to_json` has written."""
        return cls(**raw)

    def with_models(self, renamed: Callable[[str], str]) -> Self:  # noqa: ARG002 - it has none
        """With another name for each model: where the job runs it may have one."""
        return self


@dataclass(frozen=True)
class ModelArgs(Arguments):
    """What is told of one model with one seed."""

    model: str
    seed: int
    label2id: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    """Split → rows."""
    data_hash: str = ""
    made_from: Mapping[str, str] = field(default_factory=dict)
    """The run's own fingerprint."""
    processes: int = 1
    """How many train together."""

    @property
    def about(self) -> str:
        return f"{self.model} seed {self.seed}"

    def with_models(self, renamed: Callable[[str], str]) -> Self:
        return replace(self, model=renamed(self.model))


@dataclass(frozen=True)
class TrialArgs:
    """What makes a training a trial."""

    number: int
    values: Mapping[str, str]
    """Key of `[train]`, or `user.KEY` → text."""
    before: Sequence[Sequence[float]] = ()
    """METRIC after each validation, of each trial that was finished before."""
    given_up: Sequence[Sequence[float]] = ()
    """The same of those that were pruned."""


@dataclass(frozen=True)
class TrainArgs(ModelArgs):
    """A training: one model, one seed."""

    task = "train"
    resume_anyway: bool = False
    """Go on from a checkpoint although something has changed."""
    owner: str = ""
    """Whose the checkpoints are, where that is not whoever holds the lock."""
    trial: TrialArgs | None = None
    """A trial leaves no final/ behind but a trial.json."""

    @property
    def name(self) -> str:
        """As a person reads it."""
        if self.trial is not None:
            return f"{model_folder(self.model)} trial {self.trial.number}"
        return f"{model_folder(self.model)} seed {self.seed}"

    def folder(self, layout: Layout) -> str:
        """Where in the store the run leaves what it makes."""
        if self.trial is not None:
            return layout.trial(self.model, self.trial.number)
        return layout.run(self.model, self.seed)

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        return {name: told[name] for name in told if told[name] or name not in {"owner", "trial"}}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        trial = raw.get("trial")
        return cls(**{**raw, "trial": TrialArgs(**trial) if trial else None})


@dataclass(frozen=True)
class TuneArgs(ModelArgs):
    """A whole search, by whoever draws its trials too."""

    task = "tune"


@dataclass(frozen=True)
class RunToTest:
    """One trained model to evaluate."""

    model: str
    seed: int
    weights_hash: str
    rows: Mapping[str, int]
    """Rows of the validation and of the test split, as prepare wrote them."""
    values: Mapping[str, str] = field(default_factory=dict)
    """The settings that tune found for it."""


@dataclass(frozen=True)
class TestArgs(Arguments):
    """All trained models on the held-out split, in one look."""

    task = "test"
    label2id: Mapping[str, int] = field(default_factory=dict)
    runs: Sequence[RunToTest] = ()
    baseline_rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Model → split → rows, in the settings' order: the baselines stand on the first data that
    allow it; without any there are none."""
    data_hash: Mapping[str, str] = field(default_factory=dict)
    """By model; empty if it was asked by a build that knew no probes."""
    best_run: int = 0
    """The number of the run that judges labels."""
    look: Mapping[str, Any] = field(default_factory=dict)
    """What `test_access_log` notes."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**{**raw, "runs": tuple(RunToTest(**run) for run in raw.get("runs", ()))})

    def with_models(self, renamed: Callable[[str], str]) -> Self:
        return replace(
            self,
            runs=tuple(replace(run, model=renamed(run.model)) for run in self.runs),
            baseline_rows={renamed(model): one for model, one in self.baseline_rows.items()},
            data_hash={renamed(model): one for model, one in self.data_hash.items()},
        )


@dataclass(frozen=True)
class PrepareArgs(Arguments):
    """All shards, each instance its share of them."""

    task = "prepare"
    made_from: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReconcileArgs(Arguments):
    """Reconcile, with the options of its verb."""

    task = "reconcile"
    made_from: Mapping[str, str] = field(default_factory=dict)
    refresh: bool = False
    prune: bool = False
    redo: bool = False

    @property
    def options(self) -> list[str]:
        """As the command line has them."""
        asked = {"--refresh": self.refresh, "--prune": self.prune, "--redo": self.redo}
        return [word for word, is_asked in asked.items() if is_asked]


@dataclass(frozen=True)
class LookAroundArgs(Arguments):
    """What a worker finds where it runs."""

    task = "look_around"
    libraries: Sequence[str] = ()
    """Those whose versions are asked for."""


@dataclass(frozen=True)
class FollowArgs(Arguments):
    """Whatever the first of several machines has."""

    task = "follow"


@dataclass(frozen=True)
class PartArgs(Arguments):
    """The last job of several machines: there is nothing left."""

    task = "part"


_KINDS: tuple[type[Arguments], ...] = (
    *(TrainArgs, TuneArgs, TestArgs, PrepareArgs, ReconcileArgs),
    *(LookAroundArgs, FollowArgs, PartArgs),
)
ARGUMENTS: Mapping[str, type[Arguments]] = {kind.task: kind for kind in _KINDS}
"""A job's task → what it is told."""
