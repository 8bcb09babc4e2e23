"""The CloudFormation template of `handful aws bootstrap`: stack.yaml, filled in from the settings.

It makes the role of the jobs, a policy for the people who start them, and, unless they are there
already, the STORE's bucket and the image's repository. The bucket outlives the stack: data is
never removed with it.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from handful.sagemaker.account.places import store_folder
from handful.sagemaker.account.rights import (
    Right,
    repository_name,
    rights_of_driver,
    rights_of_jobs,
)
from handful.settings import Settings

BUCKET, REPOSITORY = "Store", "Repository"
"""Under which names the template has them."""
_LONGEST_NAME = 128


def stack_name(settings: Settings) -> str:
    """One stack for each STORE: experiments that share a STORE share it."""
    folder = store_folder(settings)
    said = re.sub(r"[^A-Za-z0-9]+", "-", f"handful-{folder.bucket}-{folder.prefix}")
    return said[:_LONGEST_NAME].strip("-")


def template(settings: Settings, *, bucket: bool, repository: bool) -> dict[str, Any]:
    """The template; `bucket` and `repository` say whether the stack is to hold them.

    `UserError` if STORE is not on S3.
    """
    import yaml
    from jinja2 import StrictUndefined, Template

    text = files("handful.sagemaker.account").joinpath("stack.yaml").read_text(encoding="utf-8")
    store, key = store_folder(settings).bucket, settings.experiment.KMS_KEY
    filled = Template(text, undefined=StrictUndefined).render(
        jobs=_statements(rights_of_jobs(settings)),
        driver=_statements(rights_of_driver(settings)),
        bucket=store if bucket else "",
        has_key=bool(key),
        key=json.dumps(key),
        repository=repository_name(settings) if repository else "",
    )
    found: dict[str, Any] = yaml.safe_load(filled)
    return found


def _statements(rights: tuple[Right, ...]) -> str:
    """In JSON, which is YAML."""
    return json.dumps(
        [right.statement(list(map(_substitute_arn, right.resources))) for right in rights]
    )


def _substitute_arn(arn: str) -> Any:
    return {"Fn::Sub": arn} if "${" in arn else arn
