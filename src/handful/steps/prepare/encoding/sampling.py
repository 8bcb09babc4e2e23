"""Encodes a few instances and holds their fields against the features, before the long run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handful.errors import Fault, FunctionsError, HandfulError
from handful.errors.exceptions import describe_exception, place_in, shortage
from handful.settings import Settings
from handful.steps.prepare.encoding import schema
from handful.steps.prepare.encoding.call_encode import Answer, Caller, Encoding, call_encode_data
from handful.steps.prepare.encoding.instance import Instance
from handful.user_functions.load import FILE, Encoded, Functions
from handful.user_functions.workers.messages import Desk


@dataclass(frozen=True, kw_only=True)
class EncodeSample(Encoding):
    """A few instances, to hold their fields against the features."""

    def do(self, desk: Desk) -> Sampled:
        features = features_of(desk.functions, self.label2id, self.model, desk.settings)
        caller = Caller(desk, self)
        checks = [
            check
            for instance, answer in caller.answers(range(len(self.instances)))
            for check in _check_sample_answer(features, instance, answer, self.label2id)
        ]
        return Sampled(features.to_dict(), tuple(checks))


@dataclass(frozen=True)
class Sampled:
    """The features, and how the sample fits them."""

    features: Mapping[str, Any]
    """`Features.to_dict()`."""
    checks: tuple[schema.FieldCheck, ...]


def features_of(
    functions: Functions, label2id: Mapping[str, int], model: str, settings: Settings
) -> Any:
    """The features of saved rows (`datasets.Features`), from `get_dataset_features`.

    `FunctionsError` if that function fails, or returns what cannot be saved.
    """
    try:
        promised = functions.call(
            "get_dataset_features", model_name=model, label2id=dict(label2id), settings=settings
        )
    except Exception as error:
        short = shortage(error)
        if short:
            raise short from error
        fault = Fault(
            f"{_answer_error_line(functions, error) or FILE} get_dataset_features",
            f"it raised {describe_exception(error)}",
        )
        raise FunctionsError([fault]) from error
    return schema.row_features(promised, label2id)


def check_sample(
    functions: Functions,
    features: Any,
    instances: Sequence[Instance],
    *,
    label2id: Mapping[str, int],
    model_name: str,
    settings: Settings,
) -> list[schema.FieldCheck]:
    """Encode a few instances here and now, and hold every field against the features.

    An instance for which `encode_data` raises gives one check that says so (`raised`); one for
    which it returns None gives none. `DataError` if a @batched function returns a wrong length.
    """
    checks: list[schema.FieldCheck] = []
    for instance in instances:
        try:
            answer = call_encode_data(functions, [instance], label2id, model_name, settings)[0]
        except HandfulError:
            raise
        except Exception as error:  # the user's own code; it is told in the table
            short = shortage(error)
            if short:
                raise short from error
            answer = error
        found = _check_sample_answer(features, instance, answer, label2id)
        checks += [replace(one, place=_answer_error_line(functions, answer)) for one in found]
    return checks


def _answer_error_line(functions: Functions, answer: Answer) -> str:
    """The line of the experiment's own code that an error came from; empty for an answer."""
    return place_in(functions.directory, answer) if isinstance(answer, BaseException) else ""


def _check_sample_answer(
    features: Mapping[str, Any], instance: Instance, answer: Answer, label2id: Mapping[str, int]
) -> list[schema.FieldCheck]:
    if isinstance(answer, BaseException):
        what = describe_exception(answer)
        return [schema.FieldCheck("encode_data", "a dict", what, False, instance.id, raised=True)]
    encoded = answer.features if isinstance(answer, Encoded) else answer
    if encoded is None:
        return []
    if not isinstance(encoded, Mapping):
        kind = type(encoded).__name__
        return [schema.FieldCheck("(all)", "a dict or None", kind, False, instance.id)]
    return list(schema.check_fields(features, encoded, instance.label, instance.id, label2id))
