"""`handful schema`: what machines are told, as a JSON Schema."""

from __future__ import annotations

from typing import Annotated

import typer

from handful.errors import UserError

_SCHEMAS = ("events",)


def schema(
    name: Annotated[
        str, typer.Argument(metavar="[events]", help="Of what; there is one schema so far.")
    ] = "events",
) -> None:
    """Print the JSON Schema of everything that --json prints."""
    from importlib.resources import files

    if name not in _SCHEMAS:
        raise UserError(f"there is no schema {name!r}", remedy=f"say {' or '.join(_SCHEMAS)}")
    print(files("handful.cli").joinpath(f"{name}.schema.json").read_text(encoding="utf-8"), end="")
