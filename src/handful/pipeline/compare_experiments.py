"""Several experiments beside each other: the chosen model of each, on what all have tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handful.experiment.context import Experiment
from handful.pipeline.step import Records, get_record
from handful.pipeline.step_status import as_it_stands
from handful.pipeline.steps import STEP_NAMES, STEPS
from handful.records import Compared, Prepared, Tested


def compare_across(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """The chosen models of several experiments, on what all tested and none trained on.

    Only reads. `UserError` if an experiment has not been compared yet, `DataError` if their
    labels differ or no artifact is left.
    """
    from handful.steps.compare.across import Side, across

    sides = []
    for experiment in experiments:
        records: Records = {}
        for step in STEPS[: STEP_NAMES.index("compare") + 1]:
            records[step.name] = as_it_stands(experiment, step, records)
        sides.append(
            Side(
                experiment,
                get_record(records, Prepared),
                get_record(records, Tested),
                get_record(records, Compared),
            )
        )
    return across(sides)
