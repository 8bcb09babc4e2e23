"""Production, read-only: where its label rows and its files come from."""

from __future__ import annotations

from handful.experiment import Experiment
from handful.labels.base import LabelSource
from handful.storage.base import Source


def production_labels(experiment: Experiment) -> LabelSource:
    """Production's label rows; nothing is asked yet."""
    from handful.labels.database import DatabaseLabels

    production = experiment.settings.production
    return DatabaseLabels(
        production.DATABASE_URL,
        production.LABEL_QUERY,
        progress=experiment.progress,
        scratch=experiment.scratch,
    )


def production_files(experiment: Experiment) -> Source:
    """Production's file store, to read from; nothing is asked yet."""
    from functools import partial

    from handful.storage.open import open_source
    from handful.storage.several import Several

    production = experiment.settings.production
    opened = partial(
        open_source,
        endpoint_url=production.S3_ENDPOINT_URL,
        profile=production.AWS_PROFILE,
        role_arn=production.ASSUME_ROLE_ARN,
    )
    own = opened(production.FILES_URL)
    others = tuple(opened(url) for url in production.FILE_BUCKETS)
    return Several(own, others) if others else own
