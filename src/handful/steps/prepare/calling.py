"""Calls `encode_data` for the instances of one work, and tells the gauge which are in hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from handful.errors import DataError, HandfulError
from handful.functions import Functions
from handful.settings import Settings
from handful.steps.prepare.instance import Instance
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.work import Desk

Answer = Any
"""What `encode_data` returned for one instance, or the exception that it raised."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a sample and a shard have in common. Satisfies `work.Work`."""

    model: str
    label2id: Mapping[str, int]
    instances: tuple[Instance, ...]
    patience: float
    """ENCODE_TIMEOUT, in seconds."""
    set_aside: Mapping[str, Quarantined] = field(default_factory=dict)
    """Artifact id → why it is not even tried."""
    singly: frozenset[str] = frozenset()
    """Artifact ids that are encoded one by one, although `encode_data` is @batched."""
    losses: int = 0

    def without(self, in_hand: range, why: str) -> Self:
        """After a loss: a lone instance is set aside, several are tried again one by one."""
        lost = [self.instances[i] for i in in_hand if self.instances[i].id not in self.set_aside]
        if not lost:
            return replace(self, losses=self.losses + 1)
        if len(lost) > 1:
            return replace(self, singly=self.singly | {one.id for one in lost})
        guilty = Quarantined(lost[0].id, lost[0].label, why, "")
        return replace(self, set_aside={**self.set_aside, guilty.artifact_id: guilty})


def called(
    functions: Functions,
    instances: Sequence[Instance],
    label2id: Mapping[str, int],
    model: str,
    settings: Settings,
) -> list[Answer]:
    """One call of `encode_data` (@batched: for all of them; else there is just one)."""
    menu: dict[str, Any] = {
        "label2id": dict(label2id),
        "model_name": model,
        "settings": settings,
    }
    if not functions.batched:
        return [functions.call("encode_data", instance=instances[0], **menu)]
    answers = functions.call("encode_data", instances=list(instances), **menu)
    if not isinstance(answers, list | tuple):
        told = type(answers).__name__
    elif len(answers) != len(instances):
        told = f"{len(answers)} results"
    else:
        return list(answers)
    raise DataError(
        f"returned {told} for {len(instances)} instances",
        where="functions.py encode_data",
        remedy="a @handful.batched function returns a list with one dict or None per instance",
    )


class Caller:
    """Calls `encode_data` for the instances of one work, telling the gauge."""

    def __init__(self, desk: Desk, work: Encoding) -> None:
        self._desk = desk
        self._work = work
        self._process = os.getpid()

    def answers(
        self, positions: Sequence[int], most: int | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """Each position that is not set aside with its answer, in order.

        `most`: how many a @batched `encode_data` is given at once; None: all of them.
        """
        most = most or max(1, len(positions))
        if not self._desk.functions.batched:
            for position in self._todo(positions):
                yield position, self._alone(position)
            return
        for first in range(0, len(positions), most):
            yield from self._batch(self._todo(positions[first : first + most]))

    def _todo(self, positions: Sequence[int]) -> list[int]:
        instances, aside = self._work.instances, self._work.set_aside
        return [p for p in positions if instances[p].id not in aside] if aside else [*positions]

    def _batch(self, todo: list[int]) -> list[tuple[int, Answer]]:
        work = self._work
        together = [p for p in todo if work.instances[p].id not in work.singly]
        found = self._together(together) if len(together) > 1 else {}
        return [(p, found[p] if p in found else self._alone(p)) for p in todo]

    def _together(self, positions: list[int]) -> dict[int, Answer]:
        """Answers to one @batched call; none if it raised, for any of them may be guilty."""
        try:
            return dict(zip(positions, self._call(positions), strict=True))
        except HandfulError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - the user's own code, tried again singly
            return {}

    def _alone(self, position: int) -> Answer:
        try:
            return self._call([position])[0]
        except HandfulError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own code
            return error

    def _call(self, positions: list[int]) -> list[Answer]:
        desk, work = self._desk, self._work
        gauge = desk.gauge
        gauge.begin(positions[0], positions[-1] + 1, warm=work.model in desk.warm)
        instances = [work.instances[p] for p in positions]
        try:
            return called(desk.functions, instances, work.label2id, work.model, desk.settings)
        finally:
            if os.getpid() != self._process:
                os._exit(0)  # a child that the user's function forked and did not end
            desk.warm.add(work.model)
            gauge.rest(positions[-1] + 1)
