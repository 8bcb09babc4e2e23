"""A host of SageMaker's in small: lays out `/opt/ml` from a request, and runs the entry point.

It follows the documented contract of training and processing containers; a store that is a local
directory stands for the bucket.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.sagemaker.jobs.requests.build import Request

TRAIN = Path(__file__).parents[2] / "docker" / "train"
"""What the image has on its PATH."""


Bring = Callable[[str, Path, tuple[int, int]], None]
"""Of a URL, to a folder, only a share (which, of how many) of the objects."""


@dataclass
class Host:
    """One container of a job; `root` is its `/opt/ml`."""

    root: Path
    request: Request
    name: str = "algo-1"
    hosts: Sequence[str] = ("algo-1",)
    port: int = 7777
    variables: Mapping[str, str] = field(default_factory=dict)
    bring: Bring | None = None
    """Brings what lies below a URL to a folder; None: it is a local directory."""

    def lay_out(self) -> None:
        if self.request.operation == "CreateProcessingJob":
            self._processing()
        else:
            self._training()

    def _training(self) -> None:
        body, config = self._definition(), self.root / "input" / "config"
        parameters = body.get("HyperParameters") or body.get("StaticHyperParameters", {})
        _write(config / "hyperparameters.json", {**parameters, **self.trial})
        channels = {}
        for one in body["InputDataConfig"]:
            name = one["ChannelName"]
            source = one["DataSource"]["S3DataSource"]
            self._bring(source, self.root / "input" / "data" / name)
            channels[name] = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        _write(config / "inputdataconfig.json", channels)
        _write(config / "resourceconfig.json", self._resources())
        for folder in ("model", "output/data", "checkpoints"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    program: Sequence[str] = (str(TRAIN),)
    """What the container runs; it is given `--root` and `--port`."""
    merged: bool = False
    """Whether both of its outputs are one, as in a log; its children are a group of their own."""
    trial: Mapping[str, str] = field(default_factory=dict)
    """What a tuning job adds for one trial."""

    def _definition(self) -> dict[str, Any]:
        body = self.request.parameters
        found: dict[str, Any] = body.get("TrainingJobDefinition", body)
        return found

    def _processing(self) -> None:
        body, config = self.request.parameters, self.root / "config"
        _write(config / "processingjobconfig.json", body)
        _write(config / "resourceconfig.json", self._resources())
        for one in body["ProcessingInputs"]:
            path = Path(one["S3Input"]["LocalPath"]).relative_to("/opt/ml")
            self._bring(one["S3Input"], self.root / path)
        for one in body["ProcessingOutputConfig"]["Outputs"]:
            path = Path(one["S3Output"]["LocalPath"]).relative_to("/opt/ml")
            (self.root / path).mkdir(parents=True, exist_ok=True)

    def _bring(self, source: Mapping[str, Any], target: Path) -> None:
        sharded = source["S3DataDistributionType"] == "ShardedByS3Key"
        share = (list(self.hosts).index(self.name), len(self.hosts)) if sharded else (0, 1)
        if self.bring is None:
            shutil.copytree(source["S3Uri"], target)
        else:
            self.bring(source["S3Uri"], target, share)

    def _resources(self) -> dict[str, Any]:
        found = {"current_host": self.name, "hosts": list(self.hosts)}
        return {**found, "network_interface_name": "lo"}

    def start(self) -> subprocess.Popen[str]:
        """The entry point, with the job's environment and nothing of handful's at home."""
        body = self.request.parameters
        definition = self._definition()
        name = body.get("TrainingJobName") or body.get("HyperParameterTuningJobName", "")
        scratch = self.root.parent / f"tmp-{self.root.name}"
        scratch.mkdir(exist_ok=True)
        return subprocess.Popen(
            [
                *self.program,
                *("--root", str(self.root), "--port", str(self.port)),
            ],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "TMPDIR": str(scratch),
                **definition["Environment"],
                **({"TRAINING_JOB_NAME": name} if name else {}),
                **self.variables,
            },
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if self.merged else subprocess.PIPE,
            text=True,
            start_new_session=self.merged,
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        self.lay_out()
        return self.end(self.start())

    def end(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def failure(self) -> str:
        path = self.root / "output" / "failure"
        return path.read_text() if path.exists() else ""


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
