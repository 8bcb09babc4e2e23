"""`handful predict` and `export`: lines of JSON to standard output or a file, and an ONNX file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handful.cli.command import on_experiment
from handful.cli.console import tell_result
from handful.cli.options import Model, Run, Seed
from handful.cli.output import has_reader
from handful.errors import UserError
from handful.progress import Silent

if TYPE_CHECKING:
    from handful.experiment.context import Experiment
    from handful.inference.classifier import Classifier, Prediction
    from handful.inference.lines import Lines


@on_experiment
def predict(
    experiment: Experiment,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Artifact folders, folders of them, or s3:// prefixes of such.",
        ),
    ],
    model: Model = None,
    seed: Seed = None,
    run: Run = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="JSONL; what is in it is not done again."),
    ] = None,
    every_label: Annotated[
        bool, typer.Option("--all", help="Tell the probability of every label.")
    ] = False,
    as_json: bool = False,
) -> None:
    """Classify documents with the trained model."""
    _predict_all(experiment, paths, Wish(model, seed, run, output, every_label, as_json))


@on_experiment
def export(
    experiment: Experiment,
    onnx: Annotated[bool, typer.Option("--onnx", help="As an ONNX file.")] = False,
    model: Model = None,
    seed: Seed = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Default: EXP-MODEL.onnx here.")
    ] = None,
) -> None:
    """Write the trained model for other programs."""
    if not onnx:
        raise UserError("to what?", where="handful export", remedy="say --onnx")
    _export_model(experiment, model, seed, output)


@dataclass(frozen=True)
class Wish:
    """The options of one call."""

    model: str | None
    seed: int | None
    run: str | None
    output: Path | None
    every_label: bool
    as_json: bool


class OnStandardError(Silent):
    """Standard output belongs to the predictions; what a person should act upon goes here."""

    def warn(self, message: str) -> None:
        print(f"warning: {message}", file=sys.stderr, flush=True)


def _predict_all(experiment: Experiment, paths: Sequence[str], wish: Wish) -> None:
    """Predict every document of `paths`; the errors are those of `Classifier`."""
    from handful.inference.choosing import choose
    from handful.inference.classifier import Classifier
    from handful.inference.lines import Lines

    if wish.output is None and not wish.as_json:
        experiment = replace(experiment, progress=OnStandardError())
    chosen = choose(experiment, wish.model, wish.seed, wish.run)
    with Classifier(experiment, chosen) as classifier:
        for warning in classifier.warnings():
            experiment.progress.warn(warning)
        if wish.output is None:
            _print(classifier, paths, wish)
            return
        made_from = {**classifier.made_from(), "--all": str(wish.every_label)}
        with Lines(wish.output, made_from) as lines:
            _write_prediction_lines(classifier, paths, wish, lines)


def _print(classifier: Classifier, paths: Sequence[str], wish: Wish) -> None:
    for prediction in _count_predictions(classifier, classifier.iterate(paths)):
        print(prediction.to_json(every_label=wish.every_label), flush=True)
        if not has_reader():  # whoever read has had enough, such as `head`: the rest is for nobody
            raise typer.Exit(1)


def _write_prediction_lines(
    classifier: Classifier, paths: Sequence[str], wish: Wish, lines: Lines
) -> None:
    progress = classifier.experiment.progress
    if lines.done:
        progress.note(f"{len(lines.done):,} documents are in {lines.path} already")
    found = classifier.iterate(paths, skip=lines.done.__contains__)
    for prediction in _count_predictions(classifier, found):
        lines.add([prediction.to_json(every_label=wish.every_label)])
    tell_result(progress, f"the predictions: {lines.path}")


def _count_predictions(classifier: Classifier, found: Iterable[Prediction]) -> Iterator[Prediction]:
    """The same predictions; how many there are is told meanwhile, and how many errors at last."""
    progress, errors, done = classifier.experiment.progress, 0, 0
    for done, prediction in enumerate(found, 1):
        errors += prediction.error is not None
        yield prediction
        progress.advance("predict", done, None, "documents", {"errors": errors})
    progress.advance("predict", done, done, "documents", {"errors": errors})
    if errors:
        progress.warn(
            f"{errors:,} of {done:,} documents could not be predicted; their lines say why"
        )


def _export_model(
    experiment: Experiment, model: str | None, seed: int | None, output: Path | None
) -> None:
    """Write the ONNX file, and tell how well it agrees."""
    from handful.inference.export import export_model as export

    name, done = export(experiment, model, seed, output)
    told: list[tuple[str, str | int | float]] = [
        ("model", name),
        ("inputs", ", ".join(done.inputs)),
        ("rows of validation compared", done.rows),
        ("shapes of their batches", ", ".join(str(list(shape)) for shape in done.shapes)),
        ("greatest difference of a logit", done.difference),
        ("bytes", done.size),
    ]
    experiment.progress.table(f"written: {done.path}", ("what", "value"), told)
    tell_result(experiment.progress, f"written: {done.path}", again=True)
