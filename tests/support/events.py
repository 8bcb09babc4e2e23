"""What `--json` prints, held against the schema that is published."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator


@cache
def schema() -> dict[str, Any]:
    """As the package ships it."""
    text = files("handful.cli").joinpath("events.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


def events_of(text: str) -> list[dict[str, Any]]:
    """Each line of `text`, if it is as the schema says."""
    found = []
    for line in text.splitlines():
        event = json.loads(line)
        assert faults_of(event) == [], line
        found.append(event)
    return found


def faults_of(event: Any) -> list[str]:
    """What the schema finds wrong; of a known event in its own words."""
    if validator().is_valid(event):
        return []
    name = event.get("event", "prediction") if isinstance(event, dict) else "settings"
    if name not in schema()["$defs"]:
        return [f"no such event: {name}"]
    own = validator().evolve(schema={"$ref": f"#/$defs/{name}", "$defs": schema()["$defs"]})
    return [f"{one.json_path}: {one.message}" for one in own.iter_errors(event)] or ["ambiguous"]
