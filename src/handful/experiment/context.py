"""One experiment at work: its directory, settings and store, and who listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from handful import layout
from handful.layout import Layout
from handful.progress import Discreet, Progress
from handful.settings import NOT_FOR_ONE_MODEL, Settings, read_settings
from handful.storage.base import Store
from handful.storage.checked import CheckedStore, Rules
from handful.storage.open import open_store


@dataclass(frozen=True)
class Experiment:
    """What every step is given."""

    directory: Path
    """The experiment's own directory, with settings.ini and functions.py; only read."""
    settings: Settings
    store: Store
    """Rooted at `<STORE>/<NAME>/`; its keys are those of `handful.layout`."""
    layout: Layout
    progress: Progress
    scratch: Path
    """A private local directory for this run; it is removed afterwards."""
    overrides: tuple[str, ...] = ()
    """The `--set section.KEY=value` of this call, for workers to apply again."""
    longest: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(step, the model's folder or "") → seconds that each such job may take on managed machines,
    where that is less than MAX_RUNTIME."""


def open_experiment(
    directory: Path, overrides: tuple[str, ...], progress: Progress, scratch: Path
) -> Experiment:
    """Read the settings and open the store. `SettingsError` with all faults together."""
    settings = read_settings(directory, overrides)
    store = open_checked(settings, settings.experiment.NAME, directory)
    mine = Layout(settings.prepare.ENCODED_DATA_DIR)
    if settings.secrets:
        progress = Discreet(progress, settings.hide)
    return Experiment(directory, settings, store, mine, progress, scratch, overrides)


def open_checked(settings: Settings, name: str, directory: Path | None = None) -> CheckedStore:
    """The store of the experiment of this name; what is read is compared with what was written."""
    rules = Rules(
        layout.checksum_record_keys,
        layout.checks_itself,
        lambda key: layout.remedy_for(key, str(directory or name)),
    )
    return CheckedStore(open_in_store(settings, store_url(settings, name)), rules)


def store_url(settings: Settings, name: str) -> str:
    """Where STORE keeps the experiment of this name."""
    return f"{settings.experiment.STORE.rstrip('/')}/{name}"


def open_in_store(settings: Settings, url: str) -> Store:
    """A place that is opened as STORE is: its server, credentials, role, certificates and key.

    The one way to open the store, what lies beside it, and models of a bucket.
    """
    mine = settings.experiment
    return open_store(
        url,
        endpoint_url=mine.S3_ENDPOINT_URL,
        profile=mine.AWS_PROFILE,
        role_arn=mine.ASSUME_ROLE_ARN,
        ca_bundle=mine.CA_BUNDLE,
        kms_key=mine.KMS_KEY,
    )


def with_values(experiment: Experiment, model: str, values: Mapping[str, str]) -> Experiment:
    """The experiment as `model` sees it with these values; `SettingsError` if one cannot be.

    They travel as the overrides of a call do, so every worker reads them by the same reader, and
    `user.KEY` reaches the functions through `settings`.

    `values`: a key of `[train]`, or `user.KEY` → its text.
    """
    if not values:
        return experiment
    # The section as the file spells it, so that a value there is replaced and not met.
    section = f"[train:{model}]"
    section = experiment.settings.as_written.get(section, section)[1:-1]
    overrides = experiment.overrides + tuple(
        f"{key if key.startswith('user.') else f'{place}.{key}'}={text}"
        for key, text in values.items()
        for place in ["train" if key in NOT_FOR_ONE_MODEL else section]
    )
    settings = read_settings(experiment.directory, overrides)
    return replace(experiment, settings=settings, overrides=overrides)
