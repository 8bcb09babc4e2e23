"""Names of jobs: the same for the same work, so that a driver started again finds its jobs.

A name is `<experiment>-<task>-<what>-<hash>-<attempt>`. The hash stands for all that the work is
made of, so two works never share a name however long their words are; the attempt counts up when
an earlier job of the same work failed or was stopped, since SageMaker never gives a name twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handful.errors import StepError

JOB_LIMIT = 63
TUNING_LIMIT = 32
_HASH = 12
_TASK = 10
_ATTEMPTS = 999
_TRIAL = re.compile(r".+-(\d{3,})-[0-9a-f]+")
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9]+")


@dataclass(frozen=True)
class Stem:
    """A work's name without the attempt."""

    text: str

    def attempt(self, number: int) -> str:
        """The name of the job of this attempt, from 1. `StepError` after 999."""
        if not 1 <= number <= _ATTEMPTS:
            raise StepError(
                f"{self.text} has been tried {_ATTEMPTS} times",
                remedy="look at why its jobs fail before starting another",
            )
        return f"{self.text}-{number}"


def stem(words: Mapping[str, str], identity: Mapping[str, Any], limit: int = JOB_LIMIT) -> Stem:
    """The stem for a work.

    `words` has `experiment`, `task` and `what`, for people; `identity` is JSON and holds all that
    makes the work another one: the store, the arguments, the bundle. Any text may stand in both.
    """
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
    room = limit - len(f"-{digest}-{_ATTEMPTS}")
    task = _slug(words["task"])[:_TASK].strip("-")
    if room - len(task) < 4:  # a tuning job's name holds little but the hash
        said = [task]
    else:
        left = room - len(task) - 2
        what = _slug(words["what"])[: left // 2].strip("-")
        experiment = _slug(words["experiment"])[: left - len(what)].strip("-")
        said = [experiment, task, what]
    return Stem("-".join(word for word in [*said, digest] if word))


def trial_number(name: str) -> int:
    """Which of its tuning job's trials a training job is, from 0; the same for the same name.

    SageMaker counts them in the name: `<tuning job>-<number>-<hash>`. Of another form of name it is
    a number that no count reaches.
    """
    match = _TRIAL.fullmatch(name)
    if match and int(match[1]):
        return int(match[1]) - 1
    return 10**9 + int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)


def _slug(text: str) -> str:
    """Letters, digits and single hyphens; what else there was is gone (the hash still knows it)."""
    return _FORBIDDEN.sub("-", text).strip("-")
