"""SageMaker in small, for the tests: moto behind a server, and a layer that runs what is created.

moto keeps the books (and CloudWatch's logs, Secrets Manager's entries); the layer before it keeps
each raw create request, runs it (`sagemaker_jobs`) with a real S3 server as its bucket, and changes
the state of moto's job as it goes on. What moto lacks (stop, the trials of a tuning job) and what
tests provoke (throttling, an expired credential, no capacity) is answered here.

It is a part of the tests and no command of handful's: it needs moto, which users need not install,
and at home the local backend runs the very same worker.
"""

from __future__ import annotations

import io
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from math import exp, log
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.request import Request as Asked
from moto.logs.models import logs_backends
from moto.logs.responses import LogsResponse
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from moto.secretsmanager.responses import SecretsManagerResponse
from werkzeug.serving import WSGIRequestHandler, make_server

from handful.sagemaker.jobs.requests.build import Request
from tests.support.sagemaker_host import TRAIN
from tests.support.sagemaker_jobs import Bucket, Ended, Job
from tests.support.servers import S3Server

REGION = "us-east-1"
_MOTO = {
    "SageMaker": SageMakerResponse,
    "Logs_20140328": LogsResponse,
    "secretsmanager": SecretsManagerResponse,
}
_KINDS = {"Training": "training", "Processing": "processing"}


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Nothing."""


@dataclass
class Search:
    """A tuning job: its trials, in the order in which they were started."""

    request: Request
    trials: list[dict[str, Any]] = field(default_factory=list)
    state: str = "InProgress"
    stopping: bool = False


@dataclass(frozen=True)
class Refusal:
    """An answer instead of the call's own."""

    code: str
    message: str = "no"
    status: int = 400


class StandIn:
    """`with StandIn(s3, folder) as cloud:`; its address is `cloud.endpoint_url`."""

    def __init__(self, s3: S3Server, folder: Path) -> None:
        self.requests: list[Request] = []
        """Every create request that was accepted, raw."""
        self.jobs: dict[str, Job] = {}
        self.searches: dict[str, Search] = {}
        self.calls: Counter[str] = Counter()
        self.refusals: list[tuple[str, Refusal]] = []
        """(operation, or its beginning) and what it is answered, each once, in their order."""
        self.full: set[str] = set()
        """Types of instances of which there are none."""
        self.reason = ""
        """SageMaker's own words of a job that fails, instead of the container's."""
        self.most_jobs = 1_000
        """The quota: so many jobs at once."""
        self.on_line: Callable[[Job, str, str], None] = lambda *_: None
        self.before_end: Callable[[Job], None] = lambda _: None
        """Is called when a job has run, before its state says so."""
        self.program: Sequence[str] = (str(TRAIN),)
        """What the containers run."""
        self.environment: dict[str, str] = {}
        """Of all containers."""
        self._bucket = Bucket(s3)
        self._folder = folder
        self._change = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> StandIn:
        self.books.reset()
        logs_backends[DEFAULT_ACCOUNT_ID][REGION].reset()
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        for search in self.searches.values():
            search.stopping = True
        for job in list(self.jobs.values()):
            job.kill()
        for thread in self._threads:
            thread.join(30)
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    @property
    def books(self) -> Any:
        return sagemaker_backends[DEFAULT_ACCOUNT_ID][REGION]

    def refuse(
        self, operation: str, code: str, message: str = "no", *, times: int = 1, status: int = 400
    ) -> None:
        self.refusals += [(operation, Refusal(code, message, status))] * times

    def wait_for(self, condition: Callable[[], object], seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not come about"
            time.sleep(0.02)

    # --- HTTP --------------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._change:
            self.calls[operation] += 1
            if service == "SageMaker":
                status, answer = self._answer(operation, json.loads(body or b"{}"), environ, body)
            else:
                status, answer = self._forward(environ, body)
        data = json.dumps(answer, default=str).encode()
        headers = [("Content-Type", "application/x-amz-json-1.1")]
        if status >= 400:
            headers.append(("x-amzn-errortype", str(answer.get("__type", ""))))
        start_response(f"{status} X", [*headers, ("Content-Length", str(len(data)))])
        return [data]

    def _answer(
        self, operation: str, body: dict[str, Any], environ: dict[str, Any], raw: bytes
    ) -> tuple[int, dict[str, Any]]:
        for place, (wanted, refusal) in enumerate(self.refusals):
            if operation.startswith(wanted):
                del self.refusals[place]
                return _refused(refusal)
        own = getattr(self, f"_{operation}", None)
        if operation.startswith("Create"):
            name = next(value for key, value in body.items() if key.endswith("JobName"))
            if name in self.jobs or name in self.searches:
                return _refused(Refusal("ResourceInUse", f"{name} must be unique"))
            if sum(thread.is_alive() for thread in self._threads) >= self.most_jobs:
                return _refused(Refusal("ResourceLimitExceeded", "the account-level limit is 2"))
            status, answer = self._forward(environ, raw)
            if status == 200:
                self.requests.append(Request(operation, body))
                self._begin(operation, name, body)
            return status, answer
        if own:
            answer = own(body)
            return (200, answer) if answer is not None else self._forward(environ, raw)
        return self._forward(environ, raw)

    def _forward(self, environ: dict[str, Any], raw: bytes) -> tuple[int, dict[str, Any]]:
        """What moto answers: its own server's way, but without the web framework that it wants."""
        asked = Asked({**environ, "wsgi.input": io.BytesIO(raw)})
        service = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[0]
        status, _, found = _MOTO[service].dispatch(asked, asked.url, asked.headers)
        return status, json.loads(found or b"{}")

    # --- what moto lacks ---------------------------------------------------------------------

    def _StopTrainingJob(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._stopped(body["TrainingJobName"])

    def _StopProcessingJob(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._stopped(body["ProcessingJobName"])

    def _StopHyperParameterTuningJob(self, body: dict[str, Any]) -> dict[str, Any]:
        search = self.searches[body["HyperParameterTuningJobName"]]
        search.stopping, search.state = True, "Stopping"
        for trial in search.trials:
            self.jobs[trial["TrainingJobName"]].stop()
        return {}

    def _stopped(self, name: str) -> dict[str, Any]:
        self._state(name, "Stopping", "Stopping")
        self.jobs[name].stop()
        return {}

    def _DescribeHyperParameterTuningJob(self, body: dict[str, Any]) -> dict[str, Any] | None:
        search = self.searches.get(body["HyperParameterTuningJobName"])
        if search is None:
            return None
        states = Counter(one["TrainingJobStatus"] for one in search.trials)
        best = max(
            (one for one in search.trials if "objective" in one),
            key=lambda one: float(one["objective"]),
            default=None,
        )
        return {
            "HyperParameterTuningJobName": body["HyperParameterTuningJobName"],
            "HyperParameterTuningJobStatus": search.state,
            "CreationTime": time.time(),
            "TrainingJobStatusCounters": {
                "Completed": states["Completed"],
                "InProgress": states["InProgress"],
                "NonRetryableError": states["Failed"],
                "Stopped": states["Stopped"],
            },
            **({"BestTrainingJob": _summary(best)} if best else {}),
        }

    def _ListTrainingJobsForHyperParameterTuningJob(self, body: dict[str, Any]) -> dict[str, Any]:
        trials = self.searches[body["HyperParameterTuningJobName"]].trials
        first = int(body.get("NextToken", 0))
        page = [_summary(one) for one in trials[first : first + 2]]  # small, so that they are many
        more = {"NextToken": str(first + 2)} if first + 2 < len(trials) else {}
        return {"TrainingJobSummaries": page, **more}

    # --- running -----------------------------------------------------------------------------

    def _begin(self, operation: str, name: str, body: dict[str, Any]) -> None:
        if operation == "CreateHyperParameterTuningJob":
            search = self.searches[name] = Search(Request(operation, body))
            work: Callable[[], object] = lambda: self._search(name, search)  # noqa: E731
        else:
            job = self._job(name, Request(operation, body))
            self._state(name, "InProgress", "Starting")
            work = lambda: self._run(job)  # noqa: E731
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _job(self, name: str, request: Request) -> Job:
        role = self._bucket.server.owner.environment()
        services = ("SECRETS_MANAGER", "LOGS", "SAGEMAKER")
        elsewhere = {f"AWS_ENDPOINT_URL_{service}": self.endpoint_url for service in services}
        job = self.jobs[name] = Job(
            request,
            name,
            self._folder,
            self._bucket,
            {**role, **elsewhere, **self.environment},
            self._line,
            lambda phase: self._state(name, "InProgress", phase),
            self.program,
        )
        return job

    def _run(self, job: Job) -> Ended:
        body = job.request.parameters
        cluster = body.get("ResourceConfig") or body["ProcessingResources"]["ClusterConfig"]
        if cluster["InstanceType"] in self.full:
            reason = "CapacityError: Unable to provision requested ML compute capacity."
            ended = Ended("Failed", "Failed", reason)
        else:
            try:
                ended = job.run()
            except Exception as error:  # noqa: BLE001 - a job that cannot be run is SageMaker's error
                ended = Ended("Failed", "Failed", f"InternalServerError: {error!r}")
        if self.reason and ended.state == "Failed":
            ended.reason = self.reason
        self.before_end(job)
        self._state(job.name, ended.state, ended.secondary, ended.reason, ended.message)
        return ended

    def _state(
        self, name: str, state: str, secondary: str, reason: str = "", message: str = ""
    ) -> None:
        with self._change:
            for kind in _KINDS.values():
                book = getattr(self.books, f"{kind}_jobs").get(name)
                if book is None:
                    continue
                now = getattr(book, f"{kind}_job_status")
                if state == "InProgress" and now == "Stopping":
                    return
                setattr(book, f"{kind}_job_status", state)
                book.failure_reason = reason or None
                if kind == "training":
                    book.secondary_status = secondary
                else:
                    book.exit_message = message or None

    def _line(self, name: str, host: str, line: str) -> None:
        job = self.jobs[name]
        kind = "Training" if job.is_training else "Processing"
        group, stream = f"/aws/sagemaker/{kind}Jobs", f"{name}/{host}-{int(job.begun[0])}"
        with self._change:
            logs = logs_backends[DEFAULT_ACCOUNT_ID][REGION]
            if group not in logs.groups:
                logs.create_log_group(group, {})
            if stream not in logs.groups[group].streams:
                logs.create_log_stream(group, stream)
            event = {"timestamp": int(time.time() * 1000), "message": line}
            if line:
                logs.put_log_events(group, stream, [event])
        self.on_line(job, host, line)

    # --- tuning ------------------------------------------------------------------------------

    def _search(self, name: str, search: Search) -> None:
        config = search.request.parameters["HyperParameterTuningJobConfig"]
        limits = config["ResourceLimits"]
        chance = random.Random(config.get("RandomSeed", 0))
        drawn = [
            _drawn(config["ParameterRanges"], chance)
            for _ in range(limits["MaxNumberOfTrainingJobs"])
        ]
        with ThreadPoolExecutor(limits["MaxParallelTrainingJobs"]) as pool:
            for number, values in enumerate(drawn, 1):
                pool.submit(self._trial, name, search, number, values)
        states = [one["TrainingJobStatus"] for one in search.trials]
        all_failed = bool(states) and set(states) == {"Failed"}
        search.state = "Failed" if all_failed else "Completed"
        if search.stopping:
            search.state = "Stopped"

    def _trial(self, name: str, search: Search, number: int, values: dict[str, str]) -> None:
        if search.stopping:
            return
        definition = dict(search.request.parameters["TrainingJobDefinition"])
        own = f"{name}-{number:03d}-{sha256(f'{name}{number}'.encode()).hexdigest()[:8]}"
        parameters = {**definition.pop("StaticHyperParameters"), **values}
        body = {**definition, "TrainingJobName": own, "HyperParameters": parameters}
        trial = {"TrainingJobName": own, "TrainingJobStatus": "InProgress", "values": values}
        with self._change:
            search.trials.append(trial)
            job = self._job(own, Request("CreateTrainingJob", body))
        ended = self._run(job)
        objective = config_name(search)
        patterns = definition["AlgorithmSpecification"]["MetricDefinitions"]
        regex = next(one["Regex"] for one in patterns if one["Name"] == objective)
        found = re.findall(regex, "".join(job.lines))
        with self._change:
            trial |= {"TrainingJobStatus": ended.state, "reason": ended.reason}
            if found:
                trial["objective"] = found[-1]


def config_name(search: Search) -> str:
    config = search.request.parameters["HyperParameterTuningJobConfig"]
    return str(config["HyperParameterTuningJobObjective"]["MetricName"])


def _refused(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    return refusal.status, {"__type": refusal.code, "message": refusal.message}


def _summary(trial: dict[str, Any]) -> dict[str, Any]:
    return {
        "TrainingJobName": trial["TrainingJobName"],
        "TrainingJobArn": f"arn:aws:sagemaker:{REGION}:{DEFAULT_ACCOUNT_ID}:training-job/x",
        "CreationTime": time.time(),
        "TrainingJobStatus": trial["TrainingJobStatus"],
        "TunedHyperParameters": trial["values"],
        **({"FailureReason": trial["reason"]} if trial.get("reason") else {}),
    }


def _drawn(ranges: dict[str, Any], chance: random.Random) -> dict[str, str]:
    """One value of every range, as text."""
    found = {}
    for one in ranges.get("ContinuousParameterRanges", []):
        low, high = float(one["MinValue"]), float(one["MaxValue"])
        if one["ScalingType"] == "Logarithmic":
            found[one["Name"]] = repr(exp(chance.uniform(log(low), log(high))))
        else:
            found[one["Name"]] = repr(chance.uniform(low, high))
    for one in ranges.get("IntegerParameterRanges", []):
        found[one["Name"]] = str(chance.randint(int(one["MinValue"]), int(one["MaxValue"])))
    for one in ranges.get("CategoricalParameterRanges", []):
        found[one["Name"]] = chance.choice(one["Values"])
    return found
