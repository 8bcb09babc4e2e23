"""Options that most commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Directory = Annotated[Path, typer.Argument(metavar="EXP", help="The experiment's directory.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key for this call."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Tell everything as JSON, for machines.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")]
