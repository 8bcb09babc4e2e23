"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handful.cli.completion import complete_experiment, complete_setting

Directory = Annotated[
    Path,
    typer.Argument(
        metavar="EXP", help="The experiment's directory.", autocompletion=complete_experiment
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override one key for this call.",
        autocompletion=complete_setting,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Tell everything as JSON, for machines.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")]
Quietly = Annotated[
    bool, typer.Option("--quiet", "-q", help="Tell errors and the result, nothing else.")
]
Verbosely = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell where time goes and what is tried again, too.")
]

Refresh = Annotated[bool, typer.Option("--refresh", help="Ask production anew.")]
Redo = Annotated[bool, typer.Option("--redo", help="Do it although nothing changed.")]
ResumeAnyway = Annotated[
    bool,
    typer.Option(
        "--resume-anyway", help="Go on with an interrupted training although something changed."
    ),
]

Verify = Annotated[
    bool,
    typer.Option("--verify", help="Compare the content of every file that a record names."),
]

Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Not the winner on validation.")
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of this seed.")]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="FINGERPRINT",
        help="A model that was replaced, as `status` lists it; its beginning is enough.",
    ),
]
