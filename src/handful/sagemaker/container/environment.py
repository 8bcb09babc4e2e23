"""What SageMaker lays out in a container, below `/opt/ml`; the only module that knows these paths.

Sources: the documentation's pages on how Amazon SageMaker AI runs a training image, and how it
configures the processing container. The root is a parameter, so that tests can lay one out.
"""

from __future__ import annotations

import json
import os
import sys
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
        return _read_training_container(root)
    raise UserError(
        "this is no container of a training or processing job",
        where=str(root),
        remedy="the entry point runs on SageMaker; at home use `handful run`",
    )


def _processing(root: Path) -> Container:
    config = _read_container_json(root / "config" / "processingjobconfig.json")
    inputs = {
        str(one.get("InputName")): _below(root, str(one["S3Input"]["LocalPath"]))
        for one in config.get("ProcessingInputs") or []
        if one.get("S3Input")
    }
    hosts = Hosts.read(root / "config" / "resourceconfig.json")
    name = str(config.get("ProcessingJobName", ""))
    return Container(root, PROCESSING, name, hosts, {}, inputs)


def _read_training_container(root: Path) -> Container:
    config = root / "input" / "config"
    parameters = _read_container_json(config / "hyperparameters.json")
    channels = _read_container_json(config / "inputdataconfig.json")
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


def _read_container_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"is no JSON: {error}", where=str(path)) from None
    if not isinstance(found, dict):
        raise UserError("does not hold an object", where=str(path))
    return found


STOPPED_BEFORE = "stopped from outside"
LEFT = "left because"
_LEAVING = ("stopped by ", STOPPED_BEFORE, LEFT)
"""How the words of those begin that have no cause of their own."""
_SECOND = 400
"""Bytes that are kept for what went wrong after the cause."""


def is_leaving(words: str) -> bool:
    """Are they of one that only left, since it was told to or since others had gone?"""
    return words.startswith(_LEAVING)


def tell_failure(root: Path, words: str) -> None:
    """Leave `words` where SageMaker looks for the reason of a failure.

    A training job's is `failure`, a processing job's `message`; the first words are kept, so what
    went wrong and what to do come first. What is there stays before what comes after it, unless it
    was only left by one that had no cause, and who has none adds nothing to a cause. Never raises:
    on a full disk the words go to the log.
    """
    output = root / "output"
    for name in ("failure", "message"):
        try:
            output.mkdir(parents=True, exist_ok=True)
            path = output / name
            before = path.read_text(errors="replace") if path.exists() else ""
            path.write_bytes(_merge_failure_messages(before, words))
        except OSError as error:
            sys.stderr.write(f"{words}\n{output / name} cannot be written: {error}\n")


def _merge_failure_messages(before: str, words: str) -> bytes:
    if not before or (is_leaving(before) and not is_leaving(words)):
        return _cut(words, MOST_WORDS)
    if words in before or is_leaving(words):
        return _cut(before, MOST_WORDS)
    second = b"\n" + _cut(words, _SECOND)
    return _cut(before, MOST_WORDS - len(second)) + second


def _cut(text: str, most: int) -> bytes:
    """UTF-8 of at most so many bytes; no letter is cut in two."""
    return text.encode(errors="replace")[:most].decode(errors="ignore").encode()


def failure_words(faults: list[list[str]]) -> str:
    """What a person reads first, out of the faults of `handful.errors.exceptions.error_to_json`."""
    told = []
    for where, what, remedy in faults:
        advice = f". What to do: {remedy}" if remedy else ""
        told.append(f"{what}{advice}{f' [{where}]' if where else ''}")
    return "\n".join(told)
