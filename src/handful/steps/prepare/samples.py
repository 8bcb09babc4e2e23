"""A few reconciled artifacts as instances, for `handful check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from handful.errors import DataError
from handful.experiment import Experiment
from handful.steps.prepare.artifacts import Artifact, kept_artifacts
from handful.steps.prepare.inputs import Inputs
from handful.steps.prepare.instance import Instance
from handful.steps.prepare.labels import frozen_label_map, label_map, renamed


@dataclass(frozen=True)
class Sample:
    """Instances to try the user's functions on."""

    instances: tuple[Instance, ...]
    label2id: Mapping[str, int]
    """The store's frozen map, or what it would be; always of two labels at least."""


def sample_instances(experiment: Experiment, count: int) -> Sample:
    """At most `count` instances, of as many labels as possible, from the experiment's store.

    `DataError` if none of the kept artifacts has all of its input files.
    """
    settings = experiment.settings.prepare
    artifacts = renamed(kept_artifacts(experiment), settings.LABEL_ALIASES)
    artifacts = tuple(a for a in artifacts if a.label not in settings.IGNORED_LABELS)
    inputs = Inputs(experiment)
    found: list[Instance] = []
    faults = []
    for artifact in _across_labels(artifacts):
        (document,) = inputs.documents([artifact])
        if document.fault:
            faults.append(f"{document.id}: {document.fault}")
            continue
        inputs.bring([document])
        found.append(inputs.instance(document, artifact.label))
        if len(found) == count:
            break
    if not found:
        raise DataError(
            "no artifact can be encoded",
            where="[prepare] MODEL_INPUT_FILES",
            remedy=faults[0] if faults else "all labels are ignored",
        )
    labels = {artifact.label for artifact in artifacts}
    label2id = label_map(labels, frozen_label_map(experiment))
    if len(label2id) < 2:
        label2id["(another label)"] = len(label2id)
    return Sample(tuple(found), label2id)


def _across_labels(artifacts: tuple[Artifact, ...]) -> list[Artifact]:
    """In an order in which the first few have different labels."""
    turns: Counter[str] = Counter()
    keyed = []
    for artifact in artifacts:
        keyed.append((turns[artifact.label], artifact.label, artifact))
        turns[artifact.label] += 1
    return [artifact for _, _, artifact in sorted(keyed, key=lambda k: k[:2])]
