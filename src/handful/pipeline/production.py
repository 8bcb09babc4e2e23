"""Production, read-only: where its label rows and its files come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from handful.errors import UserError
from handful.progress import Progress
from handful.settings import Settings
from handful.settings.secrets import drop_login, variables_in
from handful.storage.base import Source, Store

if TYPE_CHECKING:
    from handful.labels.base import LabelSource


def production_labels(settings: Settings, scratch: Path, progress: Progress) -> LabelSource:
    """Production's label rows; nothing is asked yet."""
    from handful.labels.database import DatabaseLabels

    production = settings.production
    return DatabaseLabels(
        production.DATABASE_URL,
        production.LABEL_QUERY,
        progress=progress,
        scratch=scratch,
        shown_as=describe_production_database(settings),
        documents=production.FILES_FROM_PROD if production.holds_documents else (),
    )


def describe_production_database(settings: Settings) -> str:
    """How DATABASE_URL is named in messages, if its address came from the environment."""
    told = drop_login(settings.concealed.get("[production] DATABASE_URL", "")).partition("?")[0]
    return told if variables_in(told) else ""


def production_files(settings: Settings) -> Source:
    """Production's file store, to read from; nothing is asked yet."""
    from handful.storage.several import Several

    if settings.production.holds_documents:
        from handful.storage.row_files import RowFiles

        return RowFiles()
    own = open_in_production(settings, settings.production.FILES_URL)
    others = tuple(open_in_production(settings, url) for url in settings.production.FILE_BUCKETS)
    return Several(own, others) if others else own


def open_in_production(settings: Settings, url: str) -> Source:
    """A place that is opened as FILES_URL is: its server, credentials, role and certificates.

    The one way to open production's files, and other documents of a bucket.
    """
    from handful.storage.open import open_source

    production = settings.production
    return open_source(
        url,
        endpoint_url=production.S3_ENDPOINT_URL,
        profile=production.AWS_PROFILE,
        role_arn=production.ASSUME_ROLE_ARN,
        ca_bundle=production.CA_BUNDLE,
    )


def refuse_overlap(settings: Settings, store: Store, directory: Path) -> None:
    """`UserError` where the experiment's `store` and production's files lie in one another.

    Production is read-only, and what is copied must not be listed as production's own.
    """
    from handful.storage.checked import bare
    from handful.storage.overlap import overlap

    if settings.production.holds_documents:
        return  # they lie in no place
    url, store = store.url, bare(store)
    files = open_in_production(settings, settings.production.FILES_URL)
    if not overlap(store, files):
        return
    from handful.steps.reconcile.keys.key_pattern import (
        KeyPattern,
    )  # too heavy to be imported for nothing

    fixed = KeyPattern.of(settings.production.KEY_PATTERN).before
    if overlap(store, files, fixed):
        over = _way_over(settings.experiment.NAME, url, directory)
        below = f"{files.url.rstrip('/')}/{fixed}".rstrip("/")
        raise UserError(
            f"the experiment would keep its data in {_describe_place_with_links(store.url)}, and "
            f"production's files lie in {_describe_place_with_links(below)}: "
            "neither may lie inside the other, since production is "
            "never written to",
            where="settings.ini [experiment] STORE",
            remedy=f"let STORE name a place outside of {below}{over}",
        )


def _describe_place_with_links(place: str) -> str:
    """A place as it is written, and where its links lead."""
    if "://" in place:
        return place
    real = os.path.realpath(place)
    return place if real == place else f"{place} (which is {real})"


def _way_over(name: str, url: str, directory: Path) -> str:
    """What becomes of what was kept so far, unless there is no such folder."""
    if "://" not in url and not Path(url).is_dir():
        return ""
    return (
        f"; what {name} has kept so far is found again when {url} is moved there, and "
        f"`handful reconcile {directory} --refresh` forgets what was listed wrongly"
    )
