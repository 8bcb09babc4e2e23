"""What is left of a search: tuning.json with every trial, and best.ini, ready to be used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from handful.experiment.context import with_values
from handful.layout import BEST, TUNING
from handful.settings import list_counted_model_settings
from handful.steps.tune.drawing import study_of
from handful.steps.tune.running import Search
from handful.steps.tune.trials import State, Trial


def write_search(search: Search, found: Sequence[Trial], best: Trial) -> None:
    """Write both files; tuning.json last."""
    store, folder = search.experiment.store, search.experiment.layout.tuning(search.model)
    store.write(f"{folder}/{BEST}", best_ini(search, best).encode())
    told = json.dumps(_tuning_summary(search, found, best), indent=2, ensure_ascii=False)
    store.write(f"{folder}/{TUNING}", f"{told}\n".encode())


def best_ini(search: Search, best: Trial) -> str:
    """The whole `[train]` of the best trial, and its `[user]` keys if some were tuned."""
    settings = search.experiment.settings
    mine = with_values(search.experiment, search.model, best.values).settings
    models = settings.as_written.get("[train] MODEL_NAMES") or ", ".join(settings.train.MODEL_NAMES)
    train = {
        name.removeprefix("[train] "): text
        for name, text in list_counted_model_settings(mine, search.model).items()
        if name.startswith("[train] ") and text != "none"
    }
    user = {
        key.removeprefix("user."): text
        for key, text in best.values.items()
        if key.startswith("user.")
    }
    metric = f"{settings.train.METRIC} {best.value:.4f} on validation"
    lines = [
        f"# The best of {search.folder}'s trials: number {best.number}, {metric}.",
        "[train]",
        *(f"{key} = {text}" for key, text in {"MODEL_NAMES": models, **train}.items()),
    ]
    if user:
        lines += ["[user]", *(f"{key} = {text}" for key, text in user.items())]
    return "\n".join(lines) + "\n"


def _tuning_summary(search: Search, found: Sequence[Trial], best: Trial) -> dict[str, Any]:
    settings = search.experiment.settings
    return {
        "model": search.folder,
        "metric": settings.train.METRIC,
        "goal": settings.train.METRIC_GOAL,
        "seed": search.seed,
        "ranges": {one.key: str(one) for one in settings.tune.ranges},
        "best": best.number,
        "importance": importance(search, found),
        "trials": [
            {
                "number": one.number,
                "values": one.tried,
                "value": one.value,
                "loss": one.loss,
                "state": one.state,
                "epochs": len(one.seen),
                "seconds": one.seconds,
                "error": one.error,
            }
            for one in found
        ],
    }


def importance(search: Search, found: Sequence[Trial]) -> Mapping[str, float]:
    """How much each key mattered, as shares of 1; empty where that cannot be said.

    PED-ANOVA (Watanabe et al. 2023), Optuna's default, over the trials that were finished.
    """
    complete = [one for one in found if one.state is State.COMPLETE]
    if len({one.value for one in complete}) < 2:
        return {}
    from optuna.importance import get_param_importances

    settings = search.experiment.settings
    study = study_of(settings.tune.ranges, settings.train.METRIC_GOAL, complete)
    shares = get_param_importances(study)
    return {key: round(share, 6) for key, share in shares.items()}
