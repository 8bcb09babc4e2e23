"""Production, read-only: where its label rows and its files come from."""

from __future__ import annotations

from handful.experiment import Experiment
from handful.labels.base import LabelSource
from handful.settings import Settings
from handful.storage.base import Source


def production_labels(experiment: Experiment) -> LabelSource:
    """Production's label rows; nothing is asked yet."""
    from handful.labels.database import DatabaseLabels

    production = experiment.settings.production
    return DatabaseLabels(production.DATABASE_URL, production.LABEL_QUERY)


def production_files(experiment: Experiment) -> Source:
    """Production's file store, to read from; nothing is asked yet."""
    from handful.storage.several import Several

    settings = experiment.settings
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
