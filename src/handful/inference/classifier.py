"""What Python sees: a trained model that is given documents and gives labels."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from handful.errors import DataError, UserError
from handful.experiment.context import Experiment, open_experiment
from handful.inference.as_trained import as_trained, concerns
from handful.inference.choosing import (
    Chosen,
    choose,
    choose_final,
    folder_of,
    record_of,
    temperature_of,
)
from handful.inference.places import Found, find
from handful.inference.reading import Reader, Window
from handful.layout import FINAL_RECORD, SETTINGS
from handful.progress import Progress, Silent
from handful.user_functions.load import load_functions
from handful.user_functions.source_hash import function_hashes

if TYPE_CHECKING:
    from handful.training.serving import Scorer

AnyPath = str | Path
_PREDICTION_FUNCTIONS = ("process_func", "get_dataset_features", "encode_data", "load_model")


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one document, or why nothing is."""

    artifact_id: str
    label: str | None = None
    probability: float | None = None
    """Of `label`, calibrated by the temperature that validation has fitted (if it was)."""
    probabilities: Mapping[str, float] | None = None
    """Of every label, in label-id order."""
    error: str | None = None
    """Why there is no label; None if there is one."""

    def to_json(self, *, every_label: bool = False) -> str:
        """One line of JSONL, in ASCII: a name cannot break a line or move a cursor."""
        told: dict[str, Any] = {"artifact_id": self.artifact_id}
        if self.error is not None:
            told["error"] = self.error
        else:
            told |= {"label": self.label, "probability": self.probability}
            if every_label:
                told["probabilities"] = dict(self.probabilities or {})
        return json.dumps(told)


class Classifier:
    """A trained model with the experiment's functions. Use it as a context, or `close` it.

    Its worker processes stay from one call to the next. One call at a time.
    """

    def __init__(self, experiment: Experiment, chosen: Chosen) -> None:
        from handful.training.serving import open_scorer

        store, mine, directory = experiment.store, experiment.layout, experiment.directory
        folder = folder_of(store, mine, experiment.scratch, chosen)
        record = record_of(chosen, folder, directory)
        experiment, lost = as_trained(experiment, chosen, record)
        self.experiment, self.chosen = experiment, chosen
        self._warnings = concerns(store, mine, function_hashes(directory), chosen, record)
        if lost:
            told = " and ".join(lost)
            self._warnings.append(f"{told} may not be as when {chosen.name} was trained")
        functions = load_functions(directory)
        try:
            self._scorer: Scorer = open_scorer(
                experiment, functions, chosen.model, folder, chosen.weights_hash
            )
        except UserError:
            for warning in self._warnings:
                experiment.progress.warn(warning)
            raise
        label2id: Mapping[str, int] = self._scorer.record["label2id"]
        self.labels: tuple[str, ...] = tuple(sorted(label2id, key=label2id.__getitem__))
        """In label-id order."""
        self.temperature = temperature_of(store, mine, chosen, self._scorer.record)
        self._reader = Reader(experiment, functions, chosen.model, label2id)
        self._owned = ExitStack()
        self._owned.callback(self._reader.close)

    @classmethod
    def load(
        cls,
        path: AnyPath,
        *,
        experiment: AnyPath | None = None,
        model: str | None = None,
        seed: int | None = None,
        run: str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Open the winner on validation of the experiment at `path`, or `model` and `seed` of it.

        `run` is the fingerprint of a trained model, also of one that has been replaced (see
        `handful status`). `path` may be a final/ folder as well, or a kept one; `experiment` is
        then the directory whose
        functions.py and settings.ini belong to it. Raises `DataError` for a path that is neither,
        and whatever the settings, the functions and the model are at fault with.
        """
        final = Path(path) if (Path(path) / FINAL_RECORD).is_file() else None
        directory = Path(path) if final is None else Path(experiment) if experiment else None
        if directory is None:
            raise DataError(
                "a final/ folder holds no functions",
                where=str(path),
                remedy="give the experiment's directory too: load(final, experiment=EXP)",
            )
        if not (directory / SETTINGS).is_file():
            what = f"holds neither {SETTINGS} nor {FINAL_RECORD}"
            remedy = "name an experiment's directory, or the final/ folder of a trained model"
            raise DataError(what, where=str(directory), remedy=remedy)
        with ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="handful-"))
            opened = open_experiment(directory.absolute(), (), progress or Silent(), Path(scratch))
            names = opened.settings.train.MODEL_NAMES
            chosen = (
                choose_final(final, opened.directory, names)
                if final
                else choose(opened, model, seed, run)
            )
            classifier = cls(opened, chosen)
            # What is opened last is closed first: the workers, then the folder they work in.
            inner = classifier._owned
            classifier._owned = stack.pop_all()
            classifier._owned.push(inner)
            return classifier

    def predict(self, paths: AnyPath | Iterable[AnyPath]) -> list[Prediction]:
        """Every document of `paths`, in order; see `iterate`."""
        return list(self.iterate(paths))

    def iterate(
        self, paths: AnyPath | Iterable[AnyPath], *, skip: Callable[[str], bool] | None = None
    ) -> Iterator[Prediction]:
        """The documents of `paths` (artifact folders, folders of them, s3:// prefixes), in order.

        In bounded memory. Those whose id `skip` answers to with True are passed over. A document
        that cannot be predicted has an `error`; what is wrong with all of them is raised: a path
        that is not there, functions that need a label, a disk that is full.
        """
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        documents: Iterator[Found] = find(self.experiment.settings, listed)
        if skip is not None:
            wanted = skip
            documents = (found for found in documents if not wanted(found.id))
        windows = self._reader.windows(documents)
        return chain.from_iterable(map(self._predict_window, windows))

    def warnings(self) -> list[str]:
        """What a person should know before believing the predictions."""
        return list(self._warnings)

    def made_from(self) -> dict[str, str]:
        """What the predictions depend on beside the documents: a name a person understands → it."""
        hashes = function_hashes(self.experiment.directory)
        user = sorted(self.experiment.settings.user.values.items())
        return {
            "the model": self.chosen.name,
            "the weights": self.chosen.weights_hash,
            "the temperature": str(self.temperature),
            **{
                f"{name} in functions.py": hashes[name]
                for name in _PREDICTION_FUNCTIONS
                if name in hashes
            },
            # Only their hash: a user's own key may hold a secret.
            "the [user] settings": hashlib.sha256(repr(user).encode()).hexdigest(),
        }

    def close(self) -> None:
        """End the worker processes, and remove what they worked on."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predict_window(self, window: Window) -> list[Prediction]:
        scored = self._score_window_rows(window)
        return [
            Prediction(one, error=str(failure)) if failure else scored[one]
            for one, failure in window.outcomes
        ]

    def _score_window_rows(self, window: Window) -> dict[str, Prediction]:
        import pyarrow as pa

        from handful.training.serving import probabilities

        tables = [some.table for some in window.rows if some.table is not None]
        if not tables:
            return {}
        ids = [one for some in window.rows for one in some.ids]
        lengths = [length for some in window.rows for length in some.lengths]
        result = self._scorer.score(pa.concat_tables(tables), lengths)
        shares = probabilities(result.logits, self.temperature)
        found = {}
        for row, one in enumerate(ids):
            if row in result.faults:
                found[one] = Prediction(one, error=result.faults[row])
                continue
            best = int(np.argmax(result.logits[row]))
            every = dict(zip(self.labels, shares[row].tolist(), strict=True))
            label = self.labels[best]
            found[one] = Prediction(one, label, every[label], every)
        return found
