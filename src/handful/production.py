"""Production, read-only: where its label rows and its files come from."""

from __future__ import annotations

from handful.experiment import Experiment
from handful.labels.base import LabelSource
from handful.storage.base import Source


def production_labels(experiment: Experiment) -> LabelSource:
    """Production's label rows; nothing is asked yet."""
    from handful.labels.database import DatabaseLabels

    production = experiment.settings.production
    return DatabaseLabels(production.DATABASE_URL, production.LABEL_QUERY)


def production_files(experiment: Experiment) -> Source:
    """Production's file store, to read from; nothing is asked yet."""
    from handful.storage.open import open_source

    production = experiment.settings.production
    return open_source(
        production.FILES_URL,
        endpoint_url=production.S3_ENDPOINT_URL,
        profile=production.AWS_PROFILE,
        role_arn=production.ASSUME_ROLE_ARN,
    )
