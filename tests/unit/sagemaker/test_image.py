"""`handful image`: what an image is built from, and what docker and podman are told.

The engines here are small programs that write down their words and their standard input; that the
image is really built, pushed and run is shown by `make test-containers`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from handful.errors import StepError, UserError
from handful.experiment.context import Experiment
from handful.layout import Layout
from handful.progress import Silent
from handful.sagemaker.image.building import Wish, build, image_name, push
from handful.sagemaker.image.context import base_context, find_sources, pin_to_local_versions
from handful.sagemaker.image.engine import Engine, find_engine
from handful.storage.local.store import LocalStore
from tests.support.clouds import ACCOUNT, REGION, client, reset, running_moto
from tests.support.sagemaker_works import settings as settings_of

IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/handful:1"
PROGRAM = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
name, words = pathlib.Path(__file__).name, sys.argv[1:]
typed = sys.stdin.read() if "login" in words else ""
files = []
for word in words[-1:]:
    folder = pathlib.Path(word)
    if folder.is_dir():
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
with (here / "calls.jsonl").open("a") as log:
    log.write(json.dumps({{"name": name, "words": words, "typed": typed, "files": files}}) + "\\n")
plan = json.loads((here / "plan.json").read_text())
verb = next(word for word in words if word in plan or not word.startswith("-"))
status, out = plan.get(" ".join([name, verb]), plan.get(verb, [0, ""]))
if "--digestfile" in words:
    pathlib.Path(words[words.index("--digestfile") + 1]).write_text("sha256:" + "ab" * 32)
print(out)
sys.exit(status)
"""


class Engines:
    """The two programs, first on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("docker", "podman"):
            path = folder / name
            path.write_text(PROGRAM.format(python=sys.executable))
            path.chmod(0o755)
        self.plan()

    def plan(self, **answers: tuple[int, str]) -> None:
        """What they answer to a verb: status and output; else 0 and nothing."""
        spelled = {name.replace("_", " "): answer for name, answer in answers.items()}
        (self.folder / "plan.json").write_text(json.dumps(spelled))

    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def verbs(self) -> list[str]:
        return [" ".join([one["name"], *one["words"][:1]]) for one in self.calls()]


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    found = Engines(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.folder}{os.pathsep}{os.environ['PATH']}")
    return found


def experiment(directory: Path, **keys: Any) -> Experiment:
    settings = settings_of(directory / "EXP-1", IMAGE_URI=IMAGE, **keys)
    scratch = directory / "scratch"
    scratch.mkdir(exist_ok=True)
    store = LocalStore(directory / "store")
    return Experiment(directory / "EXP-1", settings, store, Layout("full"), Silent(), scratch)


def test_an_engine_that_answers_is_taken(engines: Engines) -> None:
    assert find_engine(Silent()).name == "docker"
    engines.plan(docker_info=(1, "no daemon"))
    assert find_engine(Silent()).name == "podman"
    with pytest.raises(UserError, match="docker works here"):
        find_engine(Silent(), "docker")
    with pytest.raises(UserError, match="no engine"):
        find_engine(Silent(), "buildah")
    engines.plan(info=(1, ""))
    with pytest.raises(UserError, match="neither docker nor podman"):
        find_engine(Silent())


def test_handfuls_own_image_is_made_from_what_is_here(tmp_path: Path) -> None:
    first = base_context(tmp_path / "one")
    files = {p.relative_to(first.folder).as_posix() for p in first.folder.rglob("*") if p.is_file()}
    assert {"docker/Dockerfile", "docker/train", "pyproject.toml", "constraints.txt"} <= files
    assert "src/handful/backends/worker.py" in files
    assert not any("__pycache__" in name for name in files)
    pins = (first.folder / "constraints.txt").read_text().splitlines()
    assert f"transformers=={version('transformers')}" in pins
    assert f"torch=={version('torch').partition('+')[0]}" in pins
    # The same content has the same name, so it is built once.
    assert base_context(tmp_path / "two").digest == first.digest
    # A wheel brings the files along; the package's own are the same.
    apart = base_context(tmp_path / "three", first.folder)
    assert apart.digest == first.digest
    assert (find_sources() / "docker" / "Dockerfile").is_file()


def test_pins_follow_what_is_installed() -> None:
    found = pin_to_local_versions(
        "torch==1.0.0\nno-such-package==3\n# words\nnumpy==1; python_version>'3'\n"
    )
    assert found.splitlines() == [
        f"torch=={version('torch').partition('+')[0]}",
        "no-such-package==3",
        "# words",
        f"numpy=={version('numpy')}; python_version>'3'",
    ]


def test_an_experiments_image_extends_handfuls_own(engines: Engines, tmp_path: Path) -> None:
    engines.plan(image=(1, "no such image"))
    one = experiment(tmp_path)
    (one.directory / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (one.directory / "words.txt").write_text("for the Dockerfile to copy")
    (one.directory / ".env").write_text("TOKEN=secret")
    engine = Engine("docker", one.progress)
    with pytest.raises(StepError, match="no image"):  # these programs build nothing
        build(one, engine, Wish(base="cuda:1", more=("--network", "host")))
    base, own = [call for call in engines.calls() if call["words"][0] == "build"]
    name = base["words"][2]
    assert name.startswith("localhost/handful-base:")
    assert base["words"][5:9] == ["--build-arg", "BASE=cuda:1", "--network", "host"]
    assert "src/handful/backends/worker.py" in base["files"]
    assert own["words"][:3] == ["build", "--tag", IMAGE]
    assert f"BASE={name}" in own["words"]
    # Neither settings nor what a bundle leaves out can get into a layer.
    assert own["files"] == ["Dockerfile", "words.txt"]
    (checked,) = [call for call in engines.calls() if call["words"][0] == "run"]
    assert f"HANDFUL_VERSION_torch={version('torch')}" in checked["words"]
    assert checked["words"][2:4] == ["--network", "none"]


def test_without_a_dockerfile_handfuls_own_is_named_and_used_again(
    engines: Engines, tmp_path: Path
) -> None:
    engines.plan(image=(0, "1230000000"))
    one = experiment(tmp_path)
    built = build(one, Engine("podman", one.progress), Wish())
    assert (built.name, built.size) == (IMAGE, 1_230_000_000)
    assert engines.verbs() == ["podman image", "podman tag", "podman run", "podman image"]
    build(one_again(one, tmp_path), Engine("podman", one.progress), Wish(rebuild=True))
    assert "podman build" in engines.verbs()


def one_again(one: Experiment, directory: Path) -> Experiment:
    scratch = directory / "scratch-2"
    scratch.mkdir()
    return replace(one, scratch=scratch)


def test_an_image_of_other_versions_is_refused(engines: Engines, tmp_path: Path) -> None:
    engines.plan(image=(0, "1"), run=(1, "UserError: the image has torch 1.0, but the caller 2.0"))
    one = experiment(tmp_path)
    with pytest.raises(UserError, match=r"torch 1\.0") as error:
        build(one, Engine("docker", one.progress), Wish())
    assert "--rebuild" in str(error.value)
    with pytest.raises(UserError, match=r"torch 1\.0"):
        push(one.settings, one.directory, Engine("docker", one.progress), Wish())
    assert not any("push" in verb for verb in engines.verbs())


def test_a_build_that_fails_ends_with_its_last_words(engines: Engines, tmp_path: Path) -> None:
    engines.plan(image=(1, ""), build=(3, "no space left on device"))
    one = experiment(tmp_path)
    with pytest.raises(StepError, match="no space left on device") as error:
        build(one, Engine("docker", one.progress), Wish())
    assert "status 3" in str(error.value)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


class TestPushing:
    """To moto's ECR, which lends the login; the engines only note what they are told."""

    @pytest.mark.parametrize("name", ["docker", "podman"])
    def test_the_login_is_private(
        self, server: str, engines: Engines, tmp_path: Path, name: str
    ) -> None:
        reset(server)
        client(server, "ecr").create_repository(repositoryName="handful")
        digest = "sha256:" + "ab" * 32
        engines.plan(image=(0, f"{IMAGE.rpartition(':')[0]}@{digest}"))
        one = experiment(tmp_path, ENDPOINT_URL=server)
        pinned = push(one.settings, one.directory, Engine(name, one.progress), Wish())
        assert pinned == f"{IMAGE.rpartition(':')[0]}@{digest}"
        (login,) = [call for call in engines.calls() if "login" in call["words"]]
        (pushed,) = [call for call in engines.calls() if "push" in call["words"]]
        assert login["typed"], "the password is typed"
        assert not any(login["typed"] in word for call in engines.calls() for word in call["words"])
        assert login["words"][-1] == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
        flag = "--config" if name == "docker" else "--authfile"
        place = login["words"][login["words"].index(flag) + 1]
        assert pushed["words"][pushed["words"].index(flag) + 1] == place
        assert not Path(place).exists()
        assert pushed["words"][-1] == IMAGE

    def test_elsewhere_the_engines_own_logins_count(self, engines: Engines, tmp_path: Path) -> None:
        engines.plan(image=(0, "1"))
        one = experiment(tmp_path)
        section = replace(one.settings.sagemaker, IMAGE_URI="registry.example/handful")
        one = replace(one, settings=replace(one.settings, sagemaker=section))
        push(one.settings, one.directory, Engine("podman", one.progress), Wish())
        assert not any("login" in call["words"] for call in engines.calls())
        assert engines.calls()[-1]["words"][-1] == "registry.example/handful:latest"

    def test_what_was_not_built_is_not_pushed(self, engines: Engines, tmp_path: Path) -> None:
        engines.plan(image=(1, ""))
        one = experiment(tmp_path)
        with pytest.raises(UserError, match="build it first"):
            push(one.settings, one.directory, Engine("docker", one.progress), Wish())

    def test_a_login_that_is_refused(self, server: str, engines: Engines, tmp_path: Path) -> None:
        engines.plan(image=(0, "1"), login=(1, ""))
        one = experiment(tmp_path, ENDPOINT_URL=server)
        with pytest.raises(StepError, match="could not log in"):
            push(one.settings, one.directory, Engine("podman", one.progress), Wish())


def test_a_digest_is_nothing_to_build(tmp_path: Path) -> None:
    one = experiment(tmp_path)
    for uri, word in ((None, "is required"), (f"{IMAGE}@sha256:{'a' * 64}", "built before")):
        section = replace(one.settings.sagemaker, IMAGE_URI=uri)
        with pytest.raises(UserError, match=word):
            image_name(replace(one.settings, sagemaker=section))
