"""Which jobs a run will start, and on how many instances of which type: from the settings alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from handful.layout import model_folder
from handful.sagemaker.account import prices, quotas
from handful.sagemaker.jobs.requests import common
from handful.settings import Settings

STEPS = ("prepare", "tune", "train", "test")
"""The steps that always run as jobs, in their order; reconcile may."""


@dataclass(frozen=True)
class Jobs:
    """Alike jobs of one step."""

    step: str
    what: str
    """The model's folder; empty if the step has no model."""
    number: int
    """How many such jobs."""
    at_once: int
    """How many of them run at the same time, at most."""
    types: tuple[str, ...]
    """The instance type; of several, the next is tried when there is no room."""
    instances: int
    """Of each job."""
    key: str
    """The setting that names the type."""
    is_training: bool
    spot: bool = False

    @property
    def usage(self) -> str:
        """As the price list calls it."""
        return prices.TRAINING if self.is_training else prices.PROCESSING

    def needs(self) -> tuple[quotas.Need, ...]:
        """What the quotas have to allow, for each type."""
        usage = quotas.PROCESSING
        if self.is_training:
            usage = quotas.SPOT if self.spot else quotas.TRAINING
        return tuple(
            quotas.Need(
                kind,
                usage,
                self.instances,
                self.instances * self.at_once,
                self.key,
                is_first=kind == self.types[0],
            )
            for kind in self.types
        )


def jobs_of(settings: Settings, steps: Collection[str] = STEPS) -> tuple[Jobs, ...]:
    """The jobs of `steps`. `UserError` names the key of a type that is missing or is none."""
    section = settings.sagemaker
    found: list[Jobs] = []
    for step in ("reconcile", "prepare"):
        if step in steps:
            key = "PREPARE_INSTANCE_TYPE"
            kind = common.instance_type(section.PREPARE_INSTANCE_TYPE, key)
            count = section.PREPARE_INSTANCE_COUNT if step == "prepare" else 1
            found.append(Jobs(step, "", 1, 1, (kind,), count, key, is_training=False))
    if "tune" in steps and settings.tune.TRIALS:
        found += _training(settings, "tune", settings.tune.TRIALS, settings.tune.PARALLEL)
    if "train" in steps:
        found += _training(settings, "train", len(settings.train.SEEDS), len(settings.train.SEEDS))
    if "test" in steps:
        key = "TEST_INSTANCE_TYPE"
        kind = common.instance_type(section.TEST_INSTANCE_TYPE, key)
        found.append(Jobs("test", "", 1, 1, (kind,), 1, key, is_training=False))
    return tuple(found)


def _training(settings: Settings, step: str, number: int, at_once: int) -> list[Jobs]:
    """One entry a model."""
    section, key = settings.sagemaker, "TRAIN_INSTANCE_TYPE"
    types = section.TRAIN_INSTANCE_TYPE or ("",)
    checked = tuple(common.instance_type(kind, key) for kind in types)
    return [
        Jobs(
            step,
            model_folder(model),
            number,
            min(at_once, number),
            checked,
            section.TRAIN_INSTANCE_COUNT,
            key,
            is_training=True,
            spot=section.USE_SPOT,
        )
        for model in settings.train.MODEL_NAMES
    ]
