"""The real image in real containers: built, pushed, and training on two hosts.

`make test-containers` runs it, as root on Debian: it needs podman, debootstrap and docker-registry
from Debian's packages, and takes minutes. A base with Python is made by debootstrap, since no
registry is asked for one; HANDFUL_CONTAINER_BASE names one that is there. HANDFUL_BUILD_WORDS are
more words for `podman build`, such as those that let pip reach its packages from there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handful.backends.base import Job
from handful.backends.local import Local
from handful.experiment.context import Experiment
from handful.jobs.arguments import TrainArgs
from handful.layout import job_result
from handful.sagemaker.image.building import Wish, build, push
from handful.sagemaker.image.engine import Engine
from handful.sagemaker.jobs import following
from handful.sagemaker.jobs.requests.build import request
from handful.sagemaker.jobs.requests.plan import plan, upload, work_of
from tests.pipeline import test_sagemaker_standin as standin
from tests.support import sagemaker_container
from tests.support.encoded import LABELS, ROWS, make
from tests.support.progress import Recording
from tests.support.sagemaker_host import Host
from tests.support.sagemaker_standin import StandIn
from tests.support.sagemaker_works import PLAIN
from tests.support.servers import S3Server, free_ports

pytestmark = [pytest.mark.live, pytest.mark.containers, pytest.mark.timeout(3000)]
IMAGE = "localhost/handful-experiment:1"
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,libgomp1"
NETWORK = "handful-test"
# Of either generation of cgroups.
MEMORY = "cat /sys/fs/cgroup/memory.peak || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes"


def podman(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Python and nothing of ours."""
    if given := os.environ.get("HANDFUL_CONTAINER_BASE"):
        return given
    name, root = "localhost/handful-test-base:1", tmp_path_factory.mktemp("base")
    if podman("image", "exists", name, check=False).returncode == 0:
        return name
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    shutil.rmtree(root)
    podman("import", str(archive), name)
    archive.unlink()
    return name


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An encoded experiment with a Dockerfile of its own."""
    folder = tmp_path_factory.mktemp("experiment")
    one = make(folder / "EXP-1")
    (one.directory / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nCOPY words.txt /usr/share/words.txt\n"
    )
    (one.directory / "words.txt").write_text("the experiment's own\n")
    found = one.open(folder / "scratch")
    section = replace(found.settings.sagemaker, **{**PLAIN, "IMAGE_URI": IMAGE})
    return replace(found, settings=replace(found.settings, sagemaker=section))


@pytest.fixture(scope="module")
def image(experiment: Experiment, base: str) -> str:
    """The experiment's image, built by `handful image build`."""
    more = tuple(shlex.split(os.environ.get("HANDFUL_BUILD_WORDS", "--network host")))
    started = time.monotonic()
    built = build(experiment, Engine("podman", experiment.progress), Wish(base=base, more=more))
    took = time.monotonic() - started
    print(f"\nthe image: {built.size / 1e9:.2f} GB, {took:.0f} s to build")
    return built.name


@dataclass
class ContainerHost(Host):
    """A host that is a container of the real image; the store's directory lies in it, too."""

    image: str = ""
    store: Path = Path()

    def start(self) -> subprocess.Popen[str]:
        body = self.request.parameters
        name = body.get("TrainingJobName", "")
        variables = {**body["Environment"], "TRAINING_JOB_NAME": name, "OMP_NUM_THREADS": "1"}
        words = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
        return subprocess.Popen(
            [
                *("podman", "run", "--rm", "--name", self.container),
                *("--network", NETWORK, "--hostname", self.name, "--network-alias", self.name),
                *("--volume", f"{self.root}:/opt/ml", "--volume", f"{self.store}:{self.store}"),
                # As SageMaker starts an image: no entry point, one word.
                *(*words, self.image, "train"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def container(self) -> str:
        return f"handful-test-{self.root.name}"

    def _resources(self) -> dict[str, Any]:
        return {**super()._resources(), "network_interface_name": "eth0"}

    def memory(self) -> int:
        """The most that the container has used so far, in bytes; 0 when it does not run."""
        told = podman("exec", self.container, "sh", "-c", MEMORY, check=False)
        return int(told.stdout.strip() or 0) if told.returncode == 0 else 0


@pytest.fixture
def network() -> Iterator[None]:
    podman("network", "create", NETWORK)
    try:
        yield
    finally:
        podman("network", "rm", "--force", NETWORK)


def hosts(experiment: Experiment, image: str, tmp_path: Path, count: int) -> list[ContainerHost]:
    planned = plan(experiment, train_job(experiment.directory, count))
    name = planned.stem.attempt(1)
    upload(experiment.store, planned, name)
    section = replace(experiment.settings.sagemaker, TRAIN_INSTANCE_COUNT=count)
    settings = replace(experiment.settings, sagemaker=section)
    sent = request(
        settings,
        work_of(experiment.settings, experiment.store.url, experiment.layout, planned, name),
    )
    names = [f"algo-{number + 1}" for number in range(count)]
    store = experiment.directory.parent / "store"
    return [
        ContainerHost(tmp_path / f"ml-{one}", sent, one, names, image=image, store=store)
        for one in names
    ]


def train_job(directory: Path, processes: int = 1) -> Job:
    arguments: dict[str, Any] = {
        "model": str(directory / "model"),
        "seed": 0,
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "rows": dict(ROWS),
        "data_hash": "0" * 64,
        "made_from": {"processes": str(processes)},
        "processes": processes,
    }
    return Job(TrainArgs(**arguments), str(directory), processes=processes)


def test_the_image_is_what_it_should_be(image: str) -> None:
    done = podman("run", "--rm", "--network", "none", image, "cat", "/usr/share/words.txt")
    assert done.stdout == "the experiment's own\n"
    # /opt/ml is SageMaker's.
    assert podman("run", "--rm", image, "sh", "-c", "ls /opt/ml", check=False).returncode != 0
    found = podman("run", "--rm", image, "sh", "-c", "ls /settings.ini /functions.py", check=False)
    assert "settings.ini" not in found.stdout


@pytest.mark.parametrize("count", [1, 2])
def test_training_in_containers_gives_the_results_of_home(
    experiment: Experiment, image: str, network: None, tmp_path: Path, count: int
) -> None:
    home = make(tmp_path / "home" / "EXP-1")
    expected = Local().run(train_job(home.directory, count), Recording())
    containers = hosts(experiment, image, tmp_path, count)
    for one in containers:
        one.lay_out()
    started = time.monotonic()
    processes = [one.start() for one in containers]
    memory = [0] * count
    while any(process.poll() is None for process in processes):
        memory = [max(m, one.memory()) for m, one in zip(memory, containers, strict=True)]
        time.sleep(1)
    done = [one.end(process) for one, process in zip(containers, processes, strict=True)]
    took = time.monotonic() - started
    assert [one.returncode for one in done] == [0] * count, [one.stderr for one in done]
    told = ", ".join(f"{one / 1e6:.0f} MB" for one in memory)
    print(f"\n{count} container(s): {took:.0f} s, at most {told} of memory")
    name = containers[0].request.parameters["TrainingJobName"]
    result = json.loads(experiment.store.read(job_result(name)))["result"]
    assert result["environment"]["processes"] == count
    assert result["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)


def test_a_failure_is_told_in_the_first_words(
    experiment: Experiment, image: str, network: None, tmp_path: Path
) -> None:
    (host,) = hosts(experiment, image, tmp_path, 1)
    host.lay_out()
    (host.root / "input" / "data" / "experiment" / "experiment.tar").write_bytes(b"damaged")
    assert host.end(host.start()).returncode == 1
    assert "What to do:" in host.failure


def test_a_caller_of_other_versions_is_refused(
    experiment: Experiment, image: str, network: None, tmp_path: Path
) -> None:
    (host,) = hosts(experiment, image, tmp_path, 1)
    host.lay_out()
    host.request.parameters["Environment"]["HANDFUL_VERSION_torch"] = "1.0.0"
    assert host.end(host.start()).returncode == 1
    assert "but the caller has 1.0.0" in host.failure


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry (Debian's docker-registry) on a free port of the loopback."""
    (port,) = free_ports(1)
    config = tmp_path / "registry.yml"
    storage = f"{{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}"
    config.write_text(f"version: 0.1\nstorage: {storage}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log
        )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def test_the_image_is_pushed_and_found_by_its_digest(
    experiment: Experiment, image: str, registry: str
) -> None:
    name = f"{registry}/handful:1"
    podman("tag", image, name)
    section = replace(experiment.settings.sagemaker, IMAGE_URI=name)
    there = replace(experiment, settings=replace(experiment.settings, sagemaker=section))
    engine = Engine("podman", experiment.progress)
    pinned = push(there.settings, there.directory, engine, Wish(more=("--tls-verify=false",)))
    assert pinned.startswith(f"{registry}/handful@sha256:")
    podman("rmi", name)
    podman("pull", "--tls-verify=false", pinned)
    podman("rmi", pinned)


@pytest.fixture
def cloud(
    s3_server: S3Server, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIn]:
    """The stand-in, whose hosts are containers of the real image."""
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(following, "LONGEST_PAUSE", 0.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = Path(sagemaker_container.__file__)
    try:
        with StandIn(s3_server, tmp_path / "hosts") as found:
            found.program = (sys.executable, str(program), image)
            yield found
    finally:
        left = podman("ps", "--all", "--quiet", "--filter", f"label={sagemaker_container.LABEL}")
        if left.stdout.split():
            podman("rm", "--force", *left.stdout.split())


def test_end_to_end_on_two_hosts_with_an_interruption(
    cloud: StandIn, s3_server: S3Server, tmp_path: Path
) -> None:
    """The same as with processes: results as at home, from two-instance prepare to the report."""
    standin.test_two_machines_and_an_interruption_end_as_at_home(cloud, s3_server, tmp_path)


def test_two_models_are_tuned_trained_and_compared(
    cloud: StandIn, s3_server: S3Server, tmp_path: Path
) -> None:
    standin.test_two_models_each_tuned_end_as_at_home_with_what_was_found(
        cloud, s3_server, tmp_path
    )


def test_the_demo_itself(cloud: StandIn, s3_server: S3Server, tmp_path: Path) -> None:
    """Licences and MiniLM in containers, from a two-instance prepare to the report."""
    standin.test_the_demo_itself_ends_as_at_home(cloud, s3_server, tmp_path)
