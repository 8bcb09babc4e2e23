"""What SageMaker's API says of its parameters, held against a request: stricter than botocore.

botocore's validator knows types, required and unknown members and minimal lengths; maximal ones,
patterns and choices stand in the same model but are left to the server. Here they are checked too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator

OPEN = ("InstanceType",)
"""botocore lags behind new instance types, so these choices are not closed."""


@cache
def service() -> Any:
    session = botocore.session.get_session()
    session.set_credentials("dummy", "dummy")
    client = session.create_client("sagemaker", region_name="eu-central-1")
    return client.meta.service_model


def faults(operation: str, parameters: dict[str, Any]) -> list[str]:
    """All that is wrong with a request."""
    shape = service().operation_model(operation).input_shape
    report = ParamValidator().validate(parameters, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return found + list(_walk(operation, shape, parameters))


def _walk(where: str, shape: Shape, value: Any) -> list[str]:
    if shape.type_name == "structure":
        members = shape.members
        pairs = [(f"{where}.{k}", members[k], v) for k, v in value.items() if k in members]
    elif shape.type_name == "list":
        pairs = [(f"{where}[{i}]", shape.member, v) for i, v in enumerate(value)]
    elif shape.type_name == "map":
        pairs = [(f"{where}.{k!r}", shape.value, v) for k, v in value.items()]
        pairs += [(f"{where} key", shape.key, k) for k in value]
    else:
        pairs = []
    found = _limits(where, shape, value)
    for pair in pairs:
        found += _walk(*pair)
    return found


def _limits(where: str, shape: Shape, value: Any) -> list[str]:
    size = value if isinstance(value, int | float) else len(value)
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    found = []
    if (low is not None and size < low) or (high is not None and size > high):
        found.append(f"{where}: {size} is not within {low} and {high}")
    if isinstance(value, str):
        pattern, choices = shape.metadata.get("pattern"), shape.metadata.get("enum")
        if pattern and not re.fullmatch(_python(pattern), value):
            found.append(f"{where}: {value[:80]!r} does not match {pattern}")
        if choices and value not in choices and not where.endswith(OPEN):
            found.append(f"{where}: {value!r} is none of {len(choices)} choices")
    return found


def _python(pattern: str) -> str:
    for theirs, ours in (
        (r"\p{L}", r"\w"),
        (r"\p{N}", r"\d"),
        (r"\p{Z}", " "),
        (r"\p{Alnum}", "0-9A-Za-z"),
    ):
        pattern = pattern.replace(theirs, ours)
    return pattern
