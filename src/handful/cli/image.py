"""`handful image` in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from handful.cli.command import on_experiment
from handful.cli.console import tell_result

if TYPE_CHECKING:
    from handful.experiment.context import Experiment

image = typer.Typer(
    help="The container image of an experiment's jobs, by docker or podman.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
EngineName = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="docker or podman; else what works.")
]
More = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- WORDS...]", help="More words for the engine, after `--`."),
]


@image.command()
@on_experiment
def build(
    experiment: Experiment,
    more: More = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="IMAGE", help="What handful's own image begins with, such as CUDA's."
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build handful's own image although it is there.")
    ] = False,
    engine: EngineName = None,
) -> None:
    """Build the image that IMAGE_URI names, and hold its versions against those here."""
    from handful.sagemaker.image.building import Wish
    from handful.sagemaker.image.building import build as build_image
    from handful.sagemaker.image.engine import find_engine

    wish = Wish(base, tuple(more or ()), rebuild)
    built = build_image(experiment, find_engine(experiment.progress, engine), wish)
    told = [("image", built.name), ("size, GB", f"{built.size / 1e9:.2f}")]
    experiment.progress.table("built", ("what", "value"), told)
    tell_result(experiment.progress, f"built: {built.name}", again=True)


@image.command()
@on_experiment
def push(
    experiment: Experiment,
    more: More = None,
    engine: EngineName = None,
) -> None:
    """Push the image that IMAGE_URI names: to ECR with a login of its own."""
    from handful.sagemaker.image.building import Wish
    from handful.sagemaker.image.building import push as push_image
    from handful.sagemaker.image.engine import find_engine

    wish = Wish(more=tuple(more or ()))
    pinned = push_image(
        experiment.settings, experiment.directory, find_engine(experiment.progress, engine), wish
    )
    tell_result(experiment.progress, f"pushed {experiment.settings.sagemaker.IMAGE_URI}")
    if pinned:
        experiment.progress.note(f"to keep to just this image: IMAGE_URI = {pinned}")
