"""The chosen trained model as a file for other runtimes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from handful.experiment.context import Experiment
from handful.inference.as_trained import as_trained
from handful.inference.choosing import choose, folder_of, record_of, temperature_of

if TYPE_CHECKING:
    from handful.training.model.exporting import Exported


def export_model(
    experiment: Experiment, model: str | None, seed: int | None, output: Path | None
) -> tuple[str, Exported]:
    """Write the ONNX file, to `output` or beside the caller; the model's name and what was done.

    Raises what `choose` and `export_onnx` raise; no file is there then.
    """
    from handful.training.model.exporting import export_onnx

    chosen = choose(experiment, model, seed)
    name = f"{experiment.settings.experiment.NAME}-{chosen.folder}.onnx"
    store, paths = experiment.store, experiment.layout
    folder = folder_of(store, paths, experiment.scratch, chosen)
    record = record_of(chosen, folder, experiment.directory)
    mine, lost = as_trained(experiment, chosen, record)
    if lost:
        experiment.progress.warn(
            f"{' and '.join(lost)} may not be as when {chosen.name} was trained"
        )
    path = output or Path(name)
    temperature = partial(temperature_of, store, paths, chosen)
    done = export_onnx(mine, chosen.model, folder, chosen.weights_hash, path, temperature)
    return chosen.name, done
