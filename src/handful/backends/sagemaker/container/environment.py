"""What SageMaker lays out in a container, below `/opt/ml`; the only module that knows these paths.

Sources: the documentation's pages on how Amazon SageMaker AI runs a training image, and how it
configures the processing container. The root is a parameter, so that tests can lay one out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.backends.launch import Hosts
from handful.errors import UserError

ROOT = Path("/opt/ml")
MOST_WORDS = 1_024
"""Characters of a failure that SageMaker keeps."""
_LOCAL_DATA = "/opt/ml/processing/scratch"
TRAINING, PROCESSING = "training", "processing"


@dataclass(frozen=True)
class Container:
    """One container of a job: which job, which of its hosts, and what it was brought."""

    root: Path
    kind: str
    """TRAINING (a tuning job's trials too) or PROCESSING."""
    name: str
    """The job's."""
    hosts: Hosts
    parameters: Mapping[str, str]
    """Hyperparameters; always strings. A processing job has none."""
    inputs: Mapping[str, Path]
    """Channel or input → the folder where its files lie."""

    @property
    def scratch(self) -> Path | None:
        """A folder on the job's large volume; None where the system's own lies on it already.

        It is `SAGEMAKER_LOCAL_DATA_DIR`: the files that prepare fetches lie below it.
        """
        if self.kind != PROCESSING:
            return None
        return _below(self.root, os.environ.get("HANDFUL_LOCAL_DATA") or _LOCAL_DATA)

    def input(self, name: str) -> Path:
        """`UserError` if the job was given no such input."""
        if name not in self.inputs:
            raise UserError(
                f"the job has no input {name!r}",
                where=f"{self.kind} job {self.name}",
                remedy="start it by handful, which gives it one",
            )
        return self.inputs[name]


def read(root: Path = ROOT) -> Container:
    """`UserError` if this is no container of SageMaker's, or its description is damaged."""
    if (root / "config" / "processingjobconfig.json").is_file():
        return _processing(root)
    if (root / "input" / "config" / "resourceconfig.json").is_file():
        return _training(root)
    raise UserError(
        "this is no container of a training or processing job",
        where=str(root),
        remedy="the entry point runs on SageMaker; at home use `handful run`",
    )


def _processing(root: Path) -> Container:
    config = _json(root / "config" / "processingjobconfig.json")
    inputs = {
        str(one.get("InputName")): _below(root, str(one["S3Input"]["LocalPath"]))
        for one in config.get("ProcessingInputs") or []
        if one.get("S3Input")
    }
    hosts = Hosts.read(root / "config" / "resourceconfig.json")
    name = str(config.get("ProcessingJobName", ""))
    return Container(root, PROCESSING, name, hosts, {}, inputs)


def _training(root: Path) -> Container:
    config = root / "input" / "config"
    parameters = _json(config / "hyperparameters.json")
    channels = _json(config / "inputdataconfig.json")
    return Container(
        root,
        TRAINING,
        os.environ.get("TRAINING_JOB_NAME", ""),
        Hosts.read(config / "resourceconfig.json"),
        {str(key): str(value) for key, value in parameters.items()},
        {name: root / "input" / "data" / name for name in channels},
    )


def _below(root: Path, path: str) -> Path:
    """`/opt/ml/…` below the root that is really there."""
    found = Path(path)
    return root / found.relative_to(ROOT) if found.is_relative_to(ROOT) else found


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"is no JSON: {error}", where=str(path)) from None
    if not isinstance(found, dict):
        raise UserError("does not hold an object", where=str(path))
    return found


def tell_failure(root: Path, words: str) -> None:
    """Leave `words` where SageMaker looks for the reason of a failure.

    A training job's is `failure`, a processing job's `message`; the first words are kept, so what
    went wrong and what to do come first.
    """
    output = root / "output"
    output.mkdir(parents=True, exist_ok=True)
    for name in ("failure", "message"):
        (output / name).write_bytes(words.encode()[:MOST_WORDS])


def failure_words(faults: list[list[str]]) -> str:
    """What a person reads first, out of the faults of `handful.worker.error_to_json`."""
    told = []
    for where, what, remedy in faults:
        advice = f". What to do: {remedy}" if remedy else ""
        told.append(f"{what}{advice}{f' [{where}]' if where else ''}")
    return "\n".join(told)
