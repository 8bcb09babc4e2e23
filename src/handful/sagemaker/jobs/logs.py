"""A job's lines in CloudWatch, told as they come, as if the worker were here.

SageMaker sends what each host writes to a stream `<job>/<host>-<number>` of a log group for its
kind. A worker's own lines are JSON (`handful.jobs.events`, or the command line's `--json`) and
become progress again; any other line is shown as it is. Logs are a service to people: where they
cannot be read, the job is followed all the same, and that is said once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handful.progress import Progress
from handful.sagemaker.account import answers
from handful.sagemaker.jobs.requests.build import PROCESSING, TRAINING

GROUPS: Mapping[str, str] = {
    TRAINING: "/aws/sagemaker/TrainingJobs",
    PROCESSING: "/aws/sagemaker/ProcessingJobs",
}
LAST_LINES = 12
"""Of each host, for whoever asks why a job failed."""
_LOG_PAGES_PER_LOOK = 50
"""Pages of one stream that are read in one look: nobody is kept waiting by a flood of lines."""
_BEFORE = 20
"""Lines from before that are read when a job is found again."""


@dataclass
class _Stream:
    host: str
    token: str = ""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))


class Logs:
    """The lines of one job; if it has `several` hosts, each line begins with its own.

    `from_start`: also those that were written before the first look.
    """

    def __init__(
        self,
        client: Any,
        kind: str,
        job: str,
        progress: Progress,
        *,
        several: bool = False,
        from_start: bool = True,
    ) -> None:
        self._client = client
        self._group = GROUPS[kind]
        self._job = job
        self._progress = progress
        self._several = several
        self._from_start = from_start
        self._streams: dict[str, _Stream] = {}
        self._silent = False

    def tell(self) -> None:
        """Tell what has come since the last look."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            self._find()
            for name, stream in self._streams.items():
                self._read(name, stream)
        except ClientError as error:
            if answers.is_page(error.response):
                self._cannot(answers.of_response(error.response, self._group).fault.what)
            elif (code := answers.code_of(error.response)) != "ResourceNotFoundException":
                self._cannot(code)  # else there is no line yet
        except (BotoCoreError, ResponseParserError, LookupError, TypeError) as error:
            self._cannot(answers.translate_aws_error(error, self._group).fault.what)

    def last(self) -> str:
        """The last lines of every host, for an error; empty if there are none."""
        told = []
        for stream in self._streams.values():
            if stream.last:
                told.append(f"the last lines of {stream.host}:")
                told += [f"    | {line}" for line in stream.last]
        return "\n".join(told)

    def _cannot(self, why: str) -> None:
        if not self._silent:
            self._progress.warn(f"the log lines of {self._job} cannot be read: {why}")
        self._silent = True

    def _find(self) -> None:
        pages = self._client.get_paginator("describe_log_streams").paginate(
            logGroupName=self._group, logStreamNamePrefix=f"{self._job}/"
        )
        for page in pages:
            for one in page["logStreams"]:
                name = str(one["logStreamName"])
                host = name.rpartition("/")[2].rpartition("-")[0]
                self._streams.setdefault(name, _Stream(host))

    def _read(self, name: str, stream: _Stream) -> None:
        for _ in range(_LOG_PAGES_PER_LOOK):
            if stream.token:
                where = {"nextToken": stream.token, "startFromHead": True}
            elif self._from_start:
                where = {"startFromHead": True}
            else:
                where = {"startFromHead": False, "limit": _BEFORE}
            answer = self._client.get_log_events(
                logGroupName=self._group, logStreamName=name, **where
            )
            for event in answer["events"]:
                self._line(stream, str(event["message"]).rstrip("\n"))
            token = answer.get("nextForwardToken", "")
            if token == stream.token or not answer["events"]:
                stream.token = token
                return
            stream.token = token

    def _line(self, stream: _Stream, line: str) -> None:
        host = stream.host if self._several else ""
        said = event_of(line)
        if said is None or not hear(said, self._progress, host):
            words = line if line.strip() else ""
            if words:
                self._progress.note(f"{host}: {words}" if host else words)
        else:
            words = str(said.get("message", ""))
        if words:
            stream.last.append(words)


def event_of(line: str) -> dict[str, Any] | None:
    """What a worker wrote as JSON; None if the line is somebody else's."""
    try:
        said = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return said if isinstance(said, dict) and "event" in said else None


def hear(said: Mapping[str, Any], progress: Progress, host: str = "") -> bool:
    """Tell `progress` an event of a worker's; False if it is none that is known.

    `host` is named where several hosts tell the same things.
    """
    event = said["event"]
    before = f"{host}: " if host else ""
    try:
        if event in {"note", "warn"}:
            getattr(progress, event)(f"{before}{said['message']}")
        elif event in {"advance", "progress"}:
            figures = dict(said.get("figures") or {})
            task, done, total = f"{before}{said['task']}", int(said["done"]), said["total"]
            progress.advance(task, done, total, str(said.get("unit", "")), figures)
        elif event == "table":
            progress.table(f"{before}{said['title']}", said["columns"], said["rows"])
        else:
            # The command line's last words; the driver tells the error itself.
            return bool(event == "error")
    except (KeyError, TypeError, ValueError):
        return False
    return True
