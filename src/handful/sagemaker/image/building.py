"""Builds and pushes an experiment's image.

Two images: handful's own, named by the content it is made from, so that it is built once for all
experiments; and the experiment's, which its Dockerfile makes of that. What was built is held
against the versions installed here, by the very check that a container makes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from handful.errors import StepError, UserError
from handful.experiment.context import Experiment
from handful.layout import SETTINGS
from handful.progress import Progress
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.account.places import ecr_image
from handful.sagemaker.account.registry import login_of
from handful.sagemaker.container.arrival import VERSION
from handful.sagemaker.image.context import DOCKERFILE, base_context
from handful.sagemaker.image.engine import Engine
from handful.sagemaker.jobs.requests.bundle import make_bundle
from handful.sagemaker.jobs.requests.plan import VERSIONS
from handful.settings import Settings

BASE = "BASE"
"""The build argument of both Dockerfiles: what they begin with."""
_CHECK = (
    "import os; from handful.sagemaker.container.arrival import check_versions; "
    "check_versions(os.environ)"
)
_HEX = 12


@dataclass(frozen=True)
class Wish:
    """The options of one call."""

    base: str | None = None
    """The image that handful's own begins with; None: as docker/Dockerfile says."""
    more: tuple[str, ...] = ()
    """Words for the engine's `build` or `push`."""
    rebuild: bool = False
    """Build handful's own image although it is there."""


@dataclass(frozen=True)
class Built:
    """An image on this machine."""

    name: str
    size: int
    """Bytes, unpacked."""


def build(experiment: Experiment, engine: Engine, wish: Wish) -> Built:
    """Build the image that IMAGE_URI names. `UserError` if its versions are not those of here."""
    name = image_name(experiment.settings)
    base = _own_image(experiment.progress, experiment.scratch, engine, wish)
    dockerfile = experiment.directory / DOCKERFILE
    if dockerfile.is_file():
        folder = _experiment_context(experiment.settings, dockerfile, experiment.scratch)
        engine.build(folder, folder / DOCKERFILE, name, {BASE: base}, wish.more)
    else:
        experiment.progress.note(f"there is no {dockerfile.name}: handful's own image it is")
        engine.tag(base, name)
    check(engine, name)
    return Built(name, engine.size(name))


def push(settings: Settings, directory: Path, engine: Engine, wish: Wish) -> str:
    """Push it; the URI by its digest, which never changes, or empty if the engine tells none.

    To ECR with a login of its own, elsewhere with the engine's logins. `Denied` if the identity
    may not push.
    """
    name = image_name(settings)
    if not engine.has(name):
        where = str(directory)
        raise UserError(f"there is no image {name} here", where=where, remedy="build it first")
    check(engine, name)
    image = ecr_image(name)
    login = login_of(Clients(settings), image) if image else None
    digest = engine.push(name, login, wish.more)
    return f"{_repository_of_image(name)}@{digest}" if digest else ""


def image_name(settings: Settings) -> str:
    """IMAGE_URI, by a tag. `UserError` if it is not set, or names a digest."""
    name, where = settings.sagemaker.IMAGE_URI, "[sagemaker] IMAGE_URI"
    if not name:
        remedy = "write <account>.dkr.ecr.<region>.amazonaws.com/handful:1"
        raise UserError("is required", where=where, remedy=remedy)
    if "@" in name:
        remedy = f"write {name.partition('@')[0]}:<tag> to build; pin the new digest afterwards"
        raise UserError("a digest names what was built before", where=where, remedy=remedy)
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def check(engine: Engine, name: str) -> None:
    """`UserError` if the image's libraries are not of the versions that are installed here."""
    wanted = {f"{VERSION}{library}": version(library) for library in VERSIONS}
    done = engine.run(name, ["python3", "-c", _CHECK], wanted)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise UserError(
            "the image does not fit this machine's versions: " + " ".join(said),
            where=name,
            remedy="build it again: `handful image build EXP --rebuild`",
        )


def _repository_of_image(name: str) -> str:
    return name.rpartition(":")[0]


def _own_image(progress: Progress, scratch: Path, engine: Engine, wish: Wish) -> str:
    context = base_context(scratch / "image-base")
    words = " ".join((wish.base or "", *wish.more)).strip()
    content = _short_image_hash(context.digest + words)
    name = f"localhost/handful-base:{content}"
    if engine.has(name) and not wish.rebuild:
        progress.note(f"handful's own image is there: {name}")
        return name
    arguments = {BASE: wish.base} if wish.base else {}
    engine.build(context.folder, context.dockerfile, name, arguments, wish.more)
    return name


def _short_image_hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_HEX]


def _experiment_context(settings: Settings, dockerfile: Path, scratch: Path) -> Path:
    """The files that would travel with a job, and no settings: no secret gets into a layer."""
    models = [name for name in settings.train.MODEL_NAMES if Path(name).is_absolute()]
    apart = [Path(name) for name in models]
    store = settings.experiment.STORE
    if "://" not in store:
        apart.append(Path(store))
    bundle = make_bundle(dockerfile.parent, "", apart)
    folder = scratch / "image-experiment"
    for name in _without_settings(bundle.names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dockerfile.parent / name, folder / name)
    if not (folder / DOCKERFILE).is_file():
        raise StepError("the Dockerfile did not come along", where=str(dockerfile))
    return folder


def _without_settings(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != SETTINGS]
