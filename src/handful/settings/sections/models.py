"""The sections about models: training, tuning, where it is done, and what is told about it.

One declaration a key, and nothing about a key anywhere else: the reader, `handful settings`, the
page in docs/ and the fingerprints are all made from these. A step stands in `counts` if the RESULT
of that step depends on the key; what only changes speed, patience or access does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from handful.errors import UserError
from handful.settings.declare import key
from handful.settings.sections.data import SEED_MAX
from handful.settings.values import names
from handful.settings.values.lists import whole_list, words_list
from handful.settings.values.parse import (
    Bounds,
    boolean,
    choice,
    duration_of,
    duration_or_steps,
    fraction,
    optional,
    or_auto,
    real,
    size_of,
    text,
    whole,
)
from handful.settings.values.types import Range

_OPTIONAL_PROJECT_TEXT = optional(text())

FLOAT32 = 1e38
"""What its numbers reach, about: weights are counted in them."""


@dataclass(frozen=True)
class TrainSection:
    """Every model is trained with every seed. `[train:<model>]` overrides keys for one model."""

    MODEL_NAMES: tuple[str, ...] = key(
        words_list(names.model_name, "names"),
        None,
        "Hub names, local directories (beginning with ./ or /) or s3:// folders.",
        required=True,
        counts="prepare train",
    )
    EPOCHS: float | None = key(
        or_auto(real(Bounds(1e-6, 100_000), "epochs")),
        "3",
        "How often the training split is gone through. auto (here, for BATCH_SIZE and for "
        "LEARNING_RATE): by the number of documents and the size of the model.",
        counts="train",
    )
    BATCH_SIZE: int | None = key(
        or_auto(whole(1, 1_000_000, "examples")),
        "32",
        "Examples in one step of the optimizer, over all processes.",
        counts="train",
    )
    AUTO_BATCH: bool = key(
        boolean, "false", "Find the largest batch per device that fits; the rest is accumulated."
    )
    MICRO_BATCHES: str = key(
        choice("auto", "on", "off"),
        "auto",
        "On a CPU: take a batch in parts that fit its caches. auto: where the loss is known to be "
        "the mean of its examples' (stock classifiers of Transformers).",
        counts="train",
    )
    CPU_KERNELS: str = key(
        choice("auto", "off"),
        "auto",
        "On a CPU: draw dropout, compute attention with it, and validate, test and predict by "
        "handful's own, faster ways. auto: once they were compared with the plain formulas. off: "
        "all by torch's; its random numbers are others.",
        counts="train",
    )
    LEARNING_RATE: float | None = key(
        or_auto(real(Bounds(1e-38, FLOAT32))), "2e-5", "The highest learning rate.", counts="train"
    )
    HEAD_LEARNING_RATE: float | None = key(
        optional(real(Bounds(1e-38, FLOAT32)), "auto"),
        None,
        "The highest learning rate of a new head, which has everything to learn. auto: ten times "
        "LEARNING_RATE for the default model's, LEARNING_RATE for load_model's.",
        said="auto",
        counts="train",
    )
    HEAD_INIT: str = key(
        choice("auto", "probe", "random"),
        "auto",
        "What a new head begins with. probe: the weights of the probe (logistic regression on the "
        "frozen model's pooled states), and the model before the first step may stay the best. "
        "auto: probe for the default model, random for load_model's.",
        counts="train",
    )
    CONTRASTIVE: str = key(
        choice("off", "auto", "on"),
        "off",
        "A stage before the head is fitted: the encoder learns from pairs of training documents "
        "which are of one label (SetFit), for EPOCHS at LEARNING_RATE. auto: with at most 16 "
        "training documents a label, where the default model pools (POOLING).",
        counts="train",
    )
    POOLING: str = key(
        choice("auto", "model", "cls", "mean", "max", "last"),
        "auto",
        "How the default model makes one vector of its tokens' states. auto: as the checkpoint "
        "says that it was made for (modules.json of sentence-transformers), else as its class "
        "does; model: as its class does.",
        counts="train",
    )
    WARMUP: float = key(
        fraction(0.9),
        "0.1",
        "The share of the steps in which the learning rate rises.",
        counts="train",
    )
    WEIGHT_DECAY: float = key(
        real(Bounds(0, FLOAT32)), "0.01", "AdamW's weight decay.", counts="train"
    )
    LABEL_SMOOTHING: float = key(
        fraction(high_open=True),
        "0",
        "How much of the target is spread over all labels.",
        counts="train",
    )
    CLASS_WEIGHTS: str = key(
        choice("none", "balanced"),
        "none",
        "balanced: the rarer a label, the more its examples weigh in the loss.",
        counts="train",
    )
    METRIC: str = key(
        text("name"),
        "macro_f1",
        "The validation metric that picks the best checkpoint and model: one that compute_metrics "
        "returns, or any figure of the report (log_loss, brier, roc_auc, f1.<label>, …), or loss.",
        counts="train compare",
    )
    METRIC_GOAL: str = key(
        choice("max", "min"),
        None,
        "Whether METRIC is better when it is higher or lower; to be written only for a metric of "
        "your own.",
        said="as METRIC is; max for one of your own",
        counts="train compare",
    )
    EARLY_STOPPING_PATIENCE: int | None = key(
        optional(whole(1, 100_000, "evaluations")),
        None,
        "Stop after so many evaluations without a better METRIC.",
        said="none",
        counts="train",
    )
    PRECISION: str = key(
        choice("auto", "fp32", "bf16", "fp16"),
        "auto",
        "The arithmetic of training; auto: bf16 where the hardware is faster with it.",
        counts="train",
    )
    FINAL_DTYPE: str = key(
        choice("fp32", "bf16", "fp16"),
        "fp32",
        "In what the weights of final/ are stored; they are trained in fp32 all the same.",
        counts="train",
    )
    COMPILE: bool = key(
        boolean, "false", "Compile the model for training (torch.compile).", counts="train"
    )
    GRADIENT_CHECKPOINTING: bool = key(boolean, "false", "Trade time for memory.")
    ACTIVATIONS_KEPT: int | None = key(
        optional(size_of()),
        "20GB",
        "What the frozen layers of a model give is computed once, and kept for epochs, seeds and "
        "trials, if it takes no more than this; none: it is computed each time.",
    )
    SHARDING: str = key(
        choice("none", "fsdp"),
        "none",
        "fsdp: each of several processes holds only its part of the model.",
    )
    MODELS_KEPT: int = key(
        whole(0, 10_000, "models"),
        "1",
        "How many replaced final/ of a model and seed stay (`predict --run` uses them); 0: none.",
    )
    # Seconds, or `Steps`, which are numbers too.
    CHECKPOINT_EVERY: float = key(
        duration_or_steps, "10m", "How often a checkpoint is written: `10m`, or `500 steps`."
    )
    SEEDS: tuple[int, ...] = key(
        whole_list(0, SEED_MAX, "seeds"),
        None,
        "Train each model once with each of these.",
        said="= SEED",
        counts="train",
    )

    def check_shared(self, processes: int) -> None:
        """`UserError` if a batch cannot be shared evenly among so many processes."""
        if self.BATCH_SIZE is None:
            return
        share, left = divmod(self.BATCH_SIZE, processes)
        if not left:
            return
        nearest = " or ".join(str(n * processes) for n in (share, share + 1) if n)
        raise UserError(
            f"{self.BATCH_SIZE} examples cannot be shared evenly among {processes} processes",
            where="[train] BATCH_SIZE",
            remedy=f"write {nearest}",
        )


MOST_TRIALS = 100_000


@dataclass(frozen=True)
class TuneSection:
    """The search for better settings, by the validation split only."""

    TRIALS: int | None = key(
        optional(whole(1, MOST_TRIALS, "trials")),
        None,
        "How many settings to try.",
        said="none: no tuning",
        counts="tune",
    )
    TUNE_TIME: float | None = key(
        optional(duration_of(1.0)),
        None,
        "How long to search: no trial begins after it, whatever TRIALS says.",
        said="none: as many as TRIALS",
        counts="tune",
    )
    PARALLEL: int = key(
        whole(1, 1_024, "trials at once"),
        "1",
        "How many trials run at the same time; they are drawn together, in rounds.",
        counts="tune",
    )
    ranges: tuple[Range, ...] = field(default=(), kw_only=True)

    @property
    def is_asked(self) -> bool:
        return self.TRIALS is not None or self.TUNE_TIME is not None

    @property
    def most_trials(self) -> int:
        return self.TRIALS or MOST_TRIALS


@dataclass(frozen=True)
class TrackingSection:
    """Another place that is told how training goes."""

    TRACKER: str = key(
        choice("none", "wandb", "trackio", "tensorboard"), "none", "The tracker that is told."
    )
    PROJECT: str | None = key(_OPTIONAL_PROJECT_TEXT, None, "The tracker's project.", said="= NAME")
    MODE: str = key(
        choice("online", "offline"),
        "online",
        "Whether the tracker uses the network; what it writes offline is kept in the store.",
    )


@dataclass(frozen=True)
class ComputeSection:
    """Where the work is done."""

    BACKEND: str = key(
        choice("local", "sagemaker"),
        "local",
        "This machine, or SageMaker.",
    )
    TRAIN_PROCESSES: int | None = key(
        optional(whole(1, 1024, "processes")),
        None,
        "Training processes on one machine.",
        said="GPUs, else 1",
    )


@dataclass(frozen=True)
class ReportSection:
    """The page about it all."""

    SHOW_DOCUMENTS: bool = key(
        boolean,
        "true",
        "false keeps the documents out of reports: their text, their files' names and sizes, and "
        "errors that may quote them.",
        counts="report",
    )
