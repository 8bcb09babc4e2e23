"""`handful forget`: take documents out of everything that an experiment keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handful.cli.command import on_experiment
from handful.errors import UserError

if TYPE_CHECKING:
    from handful.experiment.context import Experiment
    from handful.pipeline.forget import ForgetPlan, Forgotten

_NAMED = 20


@on_experiment
def forget(
    experiment: Experiment,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Artifact ids.")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", metavar="SQL", help="In production: gives artifact_id and label."),
    ] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids-file", metavar="FILE", help="An id in each line.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    as_json: bool = False,
) -> None:
    """Delete a person's documents: from copies, data, results and reports, for good."""
    from handful.pipeline.forget import carry_out, ids_of_query, plan_forgetting

    wanted = [*(ids or ()), *_lines_of(ids_file)]
    if query:
        wanted += ids_of_query(experiment, query)
    plan = plan_forgetting(experiment, wanted)
    _show_forget_plan(experiment, plan, as_json)
    if dry_run:
        return
    if not yes and not _agrees(as_json):
        raise UserError("nothing was forgotten", where="handful forget", remedy="add --yes")
    _show_forgotten(experiment, carry_out(experiment, plan), as_json)


def _lines_of(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error
    return [line.strip() for line in lines if line.strip()]


def _agrees(as_json: bool) -> bool:
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm("Forget them? This cannot be undone.", default=False)


def _show_forget_plan(experiment: Experiment, plan: ForgetPlan, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"event": "forget_plan", **plan.to_json()}), flush=True)
        return
    progress = experiment.progress
    if plan.half_done:
        progress.warn("an earlier call was cut off; it is finished first")
    rows: list[tuple[str, str | int]] = [
        ("documents", len(plan.ids)),
        ("files of theirs", plan.files),
    ]
    for dataset, splits in plan.splits.items():
        rows += [(f"{dataset}: {split}", count) for split, count in splits.items()]
    rows += [("trained with one; weights do not change", model) for model in plan.models]
    progress.table("to be forgotten", ("what", "how many, or which"), rows)
    for twin, one in list(plan.twins.items())[:_NAMED]:
        progress.note(f"{twin!r} has the same content as {one!r}, and goes with it")
    for one in plan.unknown[:_NAMED]:
        progress.note(f"{one!r} is unknown here; it is remembered, and will not come in")


def _show_forgotten(experiment: Experiment, done: Forgotten, as_json: bool) -> None:
    if as_json:
        told = {
            "event": "forgotten",
            "documents": done.documents,
            "rewritten": list(done.rewritten),
            "deleted": done.deleted,
            "left": list(done.left),
        }
        print(json.dumps(told), flush=True)
        return
    progress = experiment.progress
    progress.note(
        f"{done.documents:,} documents are forgotten: {len(done.rewritten):,} files were "
        f"rewritten, {done.deleted:,} deleted"
    )
    progress.note("figures stay as they were, and say so; weights do not change")
    progress.note(
        "not known here, look yourself: files of `handful export` and of `predict --output` "
        "elsewhere, endpoints, trackers on the network, backups, other experiments"
    )
    for one in done.left:
        progress.warn(one)
