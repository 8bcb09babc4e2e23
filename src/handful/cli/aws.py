"""`handful aws` in words: what the account is given is printed first, and can be removed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from handful.cli.command import on_experiment
from handful.cli.console import tell_result
from handful.errors import UserError

if TYPE_CHECKING:
    from handful.experiment.context import Experiment
    from handful.progress import Progress
    from handful.sagemaker.account.stack import Stack, Standing
    from handful.settings.sections.aws import SagemakerSection

aws = typer.Typer(
    help="What jobs on SageMaker need in your account: made, shown and removed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@aws.command()
@on_experiment
def bootstrap(
    experiment: Experiment,
    yes: Yes = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="Only print the template; change nothing.")
    ] = False,
    as_json: bool = False,
) -> None:
    """Make the jobs' role, the STORE's bucket and the image's repository; printed first."""
    from handful.sagemaker.account.stack import Stack

    settings = experiment.settings
    bootstrap_stack(
        experiment.progress, settings.sagemaker, Stack(settings), as_json, yes, only_print
    )


@aws.command()
@on_experiment
def status(experiment: Experiment) -> None:
    """Show what bootstrap has made, and whether it still fits the settings."""
    from handful.sagemaker.account.stack import Stack

    show_standing(experiment.progress, Stack(experiment.settings).look())


@aws.command()
@on_experiment
def teardown(
    experiment: Experiment,
    yes: Yes = False,
    as_json: bool = False,
) -> None:
    """Remove what bootstrap has made. A bucket with data in it stays."""
    from handful.sagemaker.account.stack import Stack

    teardown_stack(experiment.progress, Stack(experiment.settings), as_json, yes)


def bootstrap_stack(
    progress: Progress,
    section: SagemakerSection,
    stack: Stack,
    as_json: bool,
    yes: bool,
    only_print: bool,
) -> None:
    """Print the template, ask, and make it."""
    standing = stack.look()
    if as_json:
        print(json.dumps({"event": "template", "stack": stack.name, "template": standing.wanted}))
    else:
        print(standing.text)
    if only_print:
        return
    if standing.fits and not standing.state.startswith("ROLLBACK"):
        progress.note(f"the stack {stack.name} has just that; nothing is changed")
    else:
        verb = "change" if standing.state else "make"
        _ask(f"{verb} the stack {stack.name} from this template?", yes)
    made = stack.bootstrap(standing)
    show_standing(progress, made)
    role, named = made.outputs.get("RoleArn", ""), section.ROLE_ARN
    if role != named:
        progress.note(f"write into [sagemaker]: ROLE_ARN = {role}")
    repository = made.outputs.get("RepositoryUri")
    if repository and not (section.IMAGE_URI or "").startswith(repository):
        progress.note(f"write into [sagemaker]: IMAGE_URI = {repository}:1")


def show_standing(progress: Progress, standing: Standing) -> None:
    """A row for each thing that was made."""
    if not standing.state:
        tell_result(
            progress, f"there is no stack {standing.name}: `handful aws bootstrap` makes it"
        )
        return
    rows = [
        (kind.removeprefix("AWS::"), physical, state)
        for _, kind, physical, state in standing.resources
    ]
    columns = ("kind", "name", "state")
    progress.table(f"the stack {standing.name}: {standing.state}", columns, rows)
    outputs = sorted(standing.outputs.items())
    progress.table("what the settings and your people need", ("what", "value"), outputs)
    tell_result(progress, f"the stack {standing.name}: {standing.state}", again=True)
    if not standing.fits:
        progress.warn("the settings ask for another template: `handful aws bootstrap` changes it")


def teardown_stack(progress: Progress, stack: Stack, as_json: bool, yes: bool) -> None:
    """Show what will go, ask, and remove it."""
    standing = stack.look()
    if not standing.state:
        progress.note(f"there is no stack {stack.name}; nothing is removed")
        return
    show_standing(progress, standing)
    _ask(f"remove the stack {stack.name}, with the images of its repository?", yes)
    removed = stack.teardown()
    if as_json:
        said = {"stack": removed.name, "removed": removed.resources, "kept": removed.kept}
        print(json.dumps({"event": "removed", **said}))
    for one in removed.resources:
        progress.note(f"removed: {one}")
    for one in removed.kept:
        progress.warn(f"kept: {one}")


def _ask(question: str, yes: bool) -> None:
    """`UserError` if nobody can answer; leaves if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(question, where="handful aws", remedy="say --yes if so")
    if not typer.confirm(question):
        raise typer.Exit(1)
