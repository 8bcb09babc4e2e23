"""Calls `encode_data` for the instances of one work, and tells the gauge which are in hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np

from handful.errors import DataError, HandfulError
from handful.errors.exceptions import raise_contained, shortage_at_work, signals_heard
from handful.settings import Settings
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.quarantine import Quarantined
from handful.user_functions.load import Encoded, Functions
from handful.user_functions.workers.messages import Desk, Loss

Answer = Any
"""What `encode_data` returned for one instance, or the exception that it raised."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a sample and a shard have in common. Satisfies `messages.Work`."""

    model: str
    label2id: Mapping[str, int]
    instances: Sequence[Instance]
    patience: float
    """ENCODE_TIMEOUT, in seconds."""
    set_aside: Mapping[str, Quarantined] = field(default_factory=dict)
    """Artifact id → why it is not even tried."""
    singly: frozenset[str] = frozenset()
    """Artifact ids that are encoded one by one, although `encode_data` is @batched."""
    losses: int = 0

    def without(self, in_hand: range, loss: Loss) -> Self:
        """After a loss: a lone instance is set aside, several are tried again one by one."""
        lost = [self.instances[i] for i in in_hand if self.instances[i].id not in self.set_aside]
        if not lost:
            return replace(self, losses=self.losses + 1)
        if len(lost) > 1:
            return replace(self, singly=self.singly | {one.id for one in lost})
        guilty = Quarantined(lost[0].id, lost[0].label, str(loss), "")
        return replace(self, set_aside={**self.set_aside, guilty.artifact_id: guilty})


def call_encode_data(
    functions: Functions,
    instances: Sequence[Instance],
    label2id: Mapping[str, int],
    model: str,
    settings: Settings,
) -> list[Answer]:
    """One call of `encode_data` (@batched: for all of them; else there is just one)."""
    call = _Call(functions, label2id, model, settings)
    return call.together(instances) if functions.batched else [call.alone(instances[0])]


class _Call:
    """`encode_data`, with all that it wants but the instances at hand.

    What it raises is raised, `Ended` for what is no `Exception`.

    It may be called a million times, so the menu is gone through once.
    """

    def __init__(
        self, functions: Functions, label2id: Mapping[str, int], model: str, settings: Settings
    ) -> None:
        wanted = functions.wanted["encode_data"]
        menu = {"model_name": model, "settings": settings}
        fixed = {name: value for name, value in menu.items() if name in wanted}
        self.function = partial(functions.found["encode_data"], **fixed)
        self._label2id = label2id if "label2id" in wanted else None
        self._batched = functions.batched
        self._given = "instances" if functions.batched else "instance"
        self._takes = self._given in wanted

    def alone(self, instance: Instance) -> Answer:
        """What it returns for one instance."""
        if self._batched:
            return self.together([instance])[0]
        heard = signals_heard()
        try:
            return _copy_encode_answer(self.function(**self._more(instance)))
        except Exception:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised again, in its own form
            raise_contained(error, heard)

    def together(self, instances: Sequence[Instance]) -> list[Answer]:
        """What a @batched one returns. `DataError` if that is not one answer for each."""
        heard = signals_heard()
        try:
            answers = self.function(**self._more(list(instances)))
        except Exception:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised again, in its own form
            raise_contained(error, heard)
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

    def _more(self, given: Any) -> dict[str, Any]:
        """The rest of what it wants."""
        more: dict[str, Any] = {self._given: given} if self._takes else {}
        if self._label2id is not None:
            more["label2id"] = dict(self._label2id)  # a copy, for it is the user's to change
        return more


def _copy_encode_answer(answer: Answer) -> Answer:
    """An answer that the next call does not overwrite: some fill one and the same dict, list or
    array again and again."""
    if type(answer) is dict:  # told apart first, since it is the usual one
        return {
            n: value[:] if type(value) is list else _copy_feature_value(value)
            for n, value in answer.items()
        }
    if isinstance(answer, Encoded):
        return replace(answer, features=_copy_encode_answer(answer.features))
    return _copy_encode_answer(dict(answer)) if isinstance(answer, Mapping) else answer


def _copy_feature_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.clone() if hasattr(value, "clone") else value  # a tensor's


class Caller:
    """Calls `encode_data` for the instances of one work, telling the gauge.

    Instances are made, and answers given back, some at a time: what goes on between two calls
    drives the tokenizer's tables out of the processor's cache.
    """

    def __init__(self, desk: Desk, work: Encoding) -> None:
        self._desk = desk
        self._work = work
        self._call = _Call(desk.functions, work.label2id, work.model, desk.settings)
        self._process = os.getpid()
        self._one_went_well = False

    def answers(
        self, positions: Sequence[int], most: int | None = None
    ) -> Iterator[tuple[Instance, Answer]]:
        """Each instance that is not set aside with its answer, in the order of `positions`.

        `most`: how many a @batched `encode_data` is given at once; None: all of them.
        """
        most = most or max(1, len(positions))
        aside, singly = self._work.set_aside, self._work.singly
        for first in range(0, len(positions), most):
            places = [(p, self._work.instances[p]) for p in positions[first : first + most]]
            if aside:
                places = [place for place in places if place[1].id not in aside]
            if self._desk.functions.batched:
                together = [place for place in places if place[1].id not in singly]
                found = self._together(together) if len(together) > 1 else {}
                found |= self._singly([place for place in places if place[0] not in found])
            else:
                found = self._singly(places)
            for position, instance in places:
                yield instance, found[position]

    def _together(self, places: Sequence[_InstancePlace]) -> dict[int, Answer]:
        """Answers to one @batched call; none if it raised, for any of them may be guilty."""
        warm = self._work.model in self._desk.warm
        self._desk.gauge.begin(places[0][0], places[-1][0] + 1, warm=warm)
        try:
            answers = self._call.together([instance for _, instance in places])
        except HandfulError:
            raise
        except Exception:  # noqa: BLE001 - the user's own code, tried again singly
            return {}
        finally:
            self._end(places[-1][0] + 1)
        return {place[0]: answer for place, answer in zip(places, answers, strict=True)}

    def _singly(self, places: Sequence[_InstancePlace]) -> dict[int, Answer]:
        """The answer for each, or what was raised."""
        found: dict[int, Answer] = {}
        gauge, call = self._desk.gauge, self._call.alone
        warm = self._work.model in self._desk.warm
        try:
            for position, instance in places:
                gauge.begin(position, position + 1, warm=warm)
                try:
                    found[position] = call(instance)
                except HandfulError:
                    raise
                except Exception as error:  # noqa: BLE001 - the user's own code
                    self._check_machine(error, instance)
                    found[position] = error
                else:
                    self._one_went_well = True
                self._stay_alone()
                warm = True
        finally:
            if places:
                self._end(places[-1][0] + 1)
        return found

    def _check_machine(self, error: Exception, instance: Instance) -> None:
        """`OutOfResources` or `Full` for what no document is guilty of."""
        short = shortage_at_work(error, others_went_well=self._one_went_well)
        if short:
            short.add_note(f"encode_data was at {instance.id}")
            raise short from error

    def _end(self, done: int) -> None:
        self._stay_alone()
        self._desk.warm.add(self._work.model)
        self._desk.gauge.rest(done)

    def _stay_alone(self) -> None:
        if os.getpid() != self._process:
            os._exit(0)  # a child that the user's function forked and did not end


_InstancePlace = tuple[int, Instance]
"""Where an instance stands in its work, and the instance."""
