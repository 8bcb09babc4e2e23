"""Jobs of the stand-in: each host is a process with its own `/opt/ml`, from the raw request.

A job knows nothing of HTTP: `sagemaker_standin` starts it, and reads its state.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.sagemaker.jobs.requests.build import Request
from tests.support.sagemaker_host import TRAIN, Host
from tests.support.servers import S3Server, free_ports

GRACE = 120.0
"""Seconds between SIGTERM and SIGKILL."""
NAMES = ("127.0.0.1", "localhost")
"""Hosts: names under which processes on one machine reach each other, sorted."""
MOST_WORDS = 1_024


@dataclass
class Bucket:
    """What SageMaker does with S3 for a job."""

    server: S3Server

    def bring(self, url: str, target: Path, share: tuple[int, int]) -> None:
        """Every object whose key begins with the URL's, by text; of several hosts only a share."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        client = self.server.client()
        target.mkdir(parents=True, exist_ok=True)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = sorted(one["Key"] for page in pages for one in page.get("Contents", []))
        for key in keys[share[0] :: share[1]]:
            path = target / key[len(prefix) :].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(path))

    def take(self, source: Path, url: str) -> None:
        """Everything below `source`; links are passed over."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        client = self.server.client()
        for path in sorted(source.rglob("*")) if source.is_dir() else ():
            if path.is_file() and not path.is_symlink():
                key = f"{prefix.rstrip('/')}/{path.relative_to(source).as_posix()}"
                client.upload_file(str(path), bucket, key)

    def put(self, url: str, content: bytes) -> None:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        self.server.client().put_object(Bucket=bucket, Key=key, Body=content)


@dataclass
class Ended:
    """How a job ended."""

    state: str
    """Completed | Failed | Stopped"""
    secondary: str = ""
    reason: str = ""
    message: str = ""
    """A processing job's ExitMessage."""


@dataclass(eq=False)
class Job:
    """One processing or training job."""

    request: Request
    name: str
    folder: Path
    bucket: Bucket
    variables: Mapping[str, str]
    """The role's credentials, and where AWS's other services are."""
    line: Callable[[str, str, str], None]
    """Is told (job, host, line) of all that its hosts write."""
    phase: Callable[[str], None] = lambda _: None
    program: Sequence[str] = (str(TRAIN),)
    begun: list[float] = field(default_factory=list)
    """When its containers were started: more than once after interruptions."""
    lines: list[str] = field(default_factory=list)
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)
    _stopping: bool = False
    _interrupted: bool = False
    _change: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_training(self) -> bool:
        return self.request.operation == "CreateTrainingJob"

    def stop(self) -> None:
        with self._change:
            self._stopping = True
        self._signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """As a spot instance is taken away: all hosts get their time, and begin again later."""
        with self._change:
            self._interrupted = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        with self._change:
            self._stopping = True
        self._signal(signal.SIGKILL)

    def run(self) -> Ended:
        """To the end, through all interruptions."""
        while not self._stopping:
            roots, statuses, late = self._once()
            if self._stopping:
                break
            if late:
                return Ended("Stopped", "MaxRuntimeExceeded")
            with self._change:
                again, self._interrupted = self._interrupted, False
            if again and any(statuses):
                self.phase("Interrupted")
                continue
            return self._ended(roots, statuses)
        return Ended("Stopped", "Stopped")

    def _once(self) -> tuple[list[Path], list[int], bool]:
        body = self.request.parameters
        cluster = body.get("ResourceConfig") or body["ProcessingResources"]["ClusterConfig"]
        names = NAMES[: cluster["InstanceCount"]]
        if len(names) < cluster["InstanceCount"]:
            raise ValueError("no more names for hosts on one machine")
        (port,) = free_ports(1)
        attempt = len(self.begun)
        self.begun.append(time.time())
        hosts = [
            Host(
                self.folder / f"{self.name}-{attempt}-{number}" / "ml",
                self.request,
                name,
                names,
                port,
                variables=self.variables,
                bring=self.bucket.bring,
                merged=True,
                program=self.program,
            )
            for number, name in enumerate(names)
        ]
        self.phase("Downloading")
        for host in hosts:
            host.root.mkdir(parents=True)
            host.lay_out()
            if self.is_training:
                checkpoints = body["CheckpointConfig"]["S3Uri"]
                self.bucket.bring(checkpoints, host.root / "checkpoints", (0, 1))
        self.phase("Training" if self.is_training else "")
        with self._change:
            if not self._stopping:
                self._processes = [host.start() for host in hosts]
        late = self._watched(hosts, float(body["StoppingCondition"]["MaxRuntimeInSeconds"]))
        if self.is_training:
            self.bucket.take(hosts[0].root / "checkpoints", body["CheckpointConfig"]["S3Uri"])
        return [host.root for host in hosts], [one.returncode for one in self._processes], late

    def _watched(self, hosts: list[Host], longest: float) -> bool:
        """Until all hosts have ended; one that fails takes the others along. True: it was late."""
        readers = [
            threading.Thread(target=self._read, args=(host.name, process), daemon=True)
            for host, process in zip(hosts, self._processes, strict=False)
        ]
        for reader in readers:
            reader.start()
        until, late, kill_at = time.monotonic() + longest, False, 0.0
        while any(process.poll() is None for process in self._processes):
            now = time.monotonic()
            failed = any(process.poll() for process in self._processes)
            if now > until and not late:
                late = True
                self._signal(signal.SIGTERM)
            if (failed or late or self._stopping or self._interrupted) and not kill_at:
                kill_at = now + GRACE
                if failed:
                    self._signal(signal.SIGTERM)
            if kill_at and now > kill_at:
                self._signal(signal.SIGKILL)
            time.sleep(0.02)
        for reader in readers:
            reader.join()
        return late

    def _read(self, host: str, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self.lines.append(line)
            self.line(self.name, host, line.rstrip("\n"))

    def _signal(self, number: int) -> None:
        for process in list(self._processes):
            if process.poll() is None:
                # Like a container's runtime: the first process gets the signal; SIGKILL ends all.
                if number == signal.SIGKILL:
                    os.killpg(process.pid, number)
                else:
                    process.send_signal(number)

    def _ended(self, roots: list[Path], statuses: list[int]) -> Ended:
        worst = next((status for status in statuses if status), 0)
        code = 128 - worst if worst < 0 else worst
        body = self.request.parameters
        if self.is_training:
            self._deliver(roots, body["OutputDataConfig"]["S3OutputPath"])
            said = _first(root / "output" / "failure" for root in roots)
            reason = f"AlgorithmError: {said}, exit code: {code}"
            return Ended("Failed", "Failed", reason) if worst else Ended("Completed", "Completed")
        for output in body["ProcessingOutputConfig"]["Outputs"]:
            path = Path(output["S3Output"]["LocalPath"]).relative_to("/opt/ml")
            for root in roots:
                self.bucket.take(root / path, output["S3Output"]["S3Uri"])
        message = _first(root / "output" / "message" for root in roots)
        reason = f"AlgorithmError: See job logs for more information, exit code: {code}"
        if worst:
            return Ended("Failed", "", reason, message)
        return Ended("Completed", "", "", message)

    def _deliver(self, roots: list[Path], url: str) -> None:
        """model.tar.gz: what all hosts left in `/opt/ml/model`, as one."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for root in roots:
                tar.add(root / "model", arcname=".")
        self.bucket.put(f"{url.rstrip('/')}/{self.name}/output/model.tar.gz", file.getvalue())


def _first(paths: Any) -> str:
    found = (path.read_text()[:MOST_WORDS] for path in paths if path.is_file())
    return next((text for text in found if text), "")
