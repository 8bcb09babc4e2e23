"""From a job to a work: what is packed and uploaded, and under which name it is found again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handful import layout
from handful.backends.base import Job
from handful.errors import Absent
from handful.experiment.context import Experiment
from handful.experiment.model_identity import LOCAL, model_identity
from handful.jobs.arguments import ModelArgs
from handful.jobs.prefetched_splits import SPLITS_OF_TRAINING
from handful.layout import Layout, model_folder
from handful.sagemaker.jobs.requests import names
from handful.sagemaker.jobs.requests.bundle import FILE, Bundle, make_bundle
from handful.sagemaker.jobs.requests.identity import work_hash
from handful.sagemaker.jobs.requests.request_context import (
    EXPERIMENT_CHANNEL,
    JOB_CHANNEL,
    JOB_FILE,
    MODEL_CHANNEL,
    REMOTE_CHANNEL,
    Channel,
    Work,
)
from handful.settings import Settings, text_before, travelling_text
from handful.storage.base import Store

_MODES = {"file": "File", "fastfile": "FastFile"}
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Either switches it off; the first is today's."""
_TRUE = {"1", "ON", "YES", "TRUE"}
"""As the hub's library reads it."""
VERSIONS = ("handful", "datasets", "pyarrow", "tokenizers", "torch", "transformers")
"""Libraries on which results depend: the container has to have the caller's."""


@dataclass(frozen=True)
class Plan:
    """All that a job needs over there, and nothing sent yet."""

    job: Job
    """As it travels: no path of this machine is in it."""
    bundle: Bundle
    settings_text: str
    models: Mapping[str, str]
    """Local model (absolute path) → its folder in the store."""
    remote: tuple[str, ...]
    """The `s3://` models, which lie where the instances can fetch them."""
    stem: names.Stem
    content: str
    """A hash of every byte that travels."""
    work: str
    """A hash of all that decides what the job does (`identity`)."""
    content_before: Callable[[], str]
    """`content` as earlier builds would have it: of what they sent only that is known."""

    @property
    def note(self) -> dict[str, str]:
        """By what the work is known again."""
        return {"content": self.content, "work": self.work}

    def is_work_of(self, note: Mapping[str, Any]) -> bool:
        """Did the job that was sent with this note do the same?"""
        if note.get("content") == self.content:
            return True
        if "work" in note:
            return bool(note["work"] == self.work)
        return bool(note) and note.get("content") == self.content_before()


def plan(experiment: Experiment, job: Job) -> Plan:
    """Pack what `job` needs. Raises what the bundle and the settings raise; writes nothing."""
    settings = experiment.settings
    local = [name for name in settings.train.MODEL_NAMES if name.startswith(LOCAL)]
    remote = [name for name in settings.train.MODEL_NAMES if name.startswith("s3://")]
    there = {name: f"../models/{model_folder(name)}" for name in (*local, *remote)}
    apart = [Path(name) for name in local]
    if "://" not in settings.experiment.STORE:
        apart.append(Path(settings.experiment.STORE))

    def packed(text: str) -> Bundle:
        return make_bundle(experiment.directory, text, apart)

    text = travelling_text(
        experiment.directory, job.overrides, there, asks_production=job.task == "reconcile"
    )
    bundle = packed(text)
    arguments = job.arguments.with_models(lambda name: there.get(name, name))
    # It goes on without this driver, and so without its lock (see `training.loop.checkpoints`).
    travelling = replace(job, experiment="", overrides=(), arguments=arguments, lock=None)
    return Plan(
        job=travelling,
        bundle=bundle,
        settings_text=text,
        models={name: _folder_of(name) for name in local},
        remote=tuple(remote),
        stem=_stem(
            settings.experiment.NAME, experiment.store.url, experiment.layout.encoded_data_dir, job
        ),
        content=_hash_job_content(bundle, travelling),
        work=work_hash(text, bundle.files, travelling),
        content_before=lambda: _hash_job_content(
            packed(text_before(experiment.directory, job.overrides, there)), travelling
        ),
    )


def _hash_job_content(bundle: Bundle, travelling: Job) -> str:
    told = json.dumps(travelling.content(), indent=2)
    return hashlib.sha256((bundle.digest + told).encode()).hexdigest()


def _folder_of(model: str) -> str:
    """Where a local model lies in the store; two of one content and other names lie apart."""
    what = hashlib.sha256(f"{model_identity(model)} {model_folder(model)}".encode()).hexdigest()
    return f"{layout.BUNDLES}/model-{what[:32]}/{model_folder(model)}"


def _stem(experiment: str, store: str, dataset: str, job: Job) -> names.Stem:
    """By the place of the results alone: who changed the code still finds what runs there.

    `experiment`: its name; `store`: its URL.
    """
    one = job.arguments
    what, model, seed = dataset, "", None
    if isinstance(one, ModelArgs):
        model, seed = model_folder(one.model), one.seed
        what = f"{model}-s{seed}"
    place = {
        "store": store,
        "dataset": dataset,
        "task": job.task,
        "model": model,
        "seed": seed,
    }
    words = {"experiment": experiment, "task": job.task, "what": what}
    limit = names.TUNING_LIMIT if job.task == "tune" else names.JOB_LIMIT
    return names.stem(words, place, limit)


def work_of(
    settings: Settings, url: str, mine: Layout, planned: Plan, name: str, instance_type: str = ""
) -> Work:
    """The work that is sent under `name`; its channels lead into the store, at `url`."""
    models = [
        Channel(f"{MODEL_CHANNEL}{number}", f"{url}/{folder.rpartition('/')[0]}")
        for number, folder in enumerate(planned.models.values())
    ]
    models += [
        Channel(f"{REMOTE_CHANNEL}{number}", name) for number, name in enumerate(planned.remote)
    ]
    mode = _MODES[settings.sagemaker.TRAIN_INPUT_MODE]
    data = [
        Channel(split, f"{url}/{mine.encoded_split(model, split)}", mode)
        for model, split in _list_splits_to_bring(planned.job)
    ]
    bundle = Channel(EXPERIMENT_CHANNEL, f"{url}/{_bundle_folder(planned)}")
    return Work(
        name=name,
        job=planned.job,
        bundle_hash=planned.bundle.digest,
        settings_text=planned.settings_text,
        folder=f"{url}/{layout.JOBS}/{name}",
        channels=(bundle, *models, *data),
        instance_type=instance_type,
        versions={library: version(library) for library in VERSIONS},
        origins=planned.remote,
        variables=_offline(os.environ),
    )


def _offline(environment: Mapping[str, str]) -> dict[str, str]:
    """Who keeps the hub from being asked here keeps the containers from it, too."""
    asked = any(environment.get(name, "").upper() in _TRUE for name in OFFLINE)
    return {OFFLINE[0]: "1"} if asked else {}


def _list_splits_to_bring(job: Job) -> list[tuple[str, str]]:
    """(model, split) of the encoded data that a training or its trials read."""
    one = job.arguments
    if not isinstance(one, ModelArgs):
        return []
    # A channel that brings nothing would end the job before the worker could say what is missing.
    return [(one.model, split) for split in SPLITS_OF_TRAINING if one.rows.get(split, 1)]


def upload(store: Store, planned: Plan, name: str) -> None:
    """Bring to the store what is not there yet: by content hash, so nothing is sent twice."""
    store.create(f"{_bundle_folder(planned)}/{FILE}", planned.bundle.content)
    for local, folder in planned.models.items():
        # Beside the folder: a channel would bring it along.
        whole = f"{folder.rpartition('/')[0]}.whole.json"
        try:
            store.read(whole)
        except Absent:
            store.send_tree(Path(local), folder)
            store.write(whole, json.dumps({"model": model_folder(local)}).encode())
    folder = f"{layout.JOBS}/{name}/{JOB_CHANNEL}"
    store.write(f"{folder}/{JOB_FILE}", planned.job.to_json().encode())


def _bundle_folder(planned: Plan) -> str:
    return f"{layout.BUNDLES}/{planned.bundle.digest}"
