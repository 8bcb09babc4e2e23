"""One thing that was looked at, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from handful.errors import Denied, Fault, HandfulError, Unreachable
from handful.sagemaker.account.answers import translate_aws_error


class Verdict(StrEnum):
    """What a look has shown."""

    FINE = "fine"
    TROUBLE = "trouble"
    """A job would fail."""
    UNKNOWN = "unknown"
    """It could not be looked at, so a job may fail."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""

    @property
    def fault(self) -> Fault:
        return Fault(self.what, self.found, self.remedy)


def fine(what: str, found: str) -> Finding:
    return Finding(what, Verdict.FINE, found)


def trouble(what: str, found: str, remedy: str) -> Finding:
    return Finding(what, Verdict.TROUBLE, found, remedy)


def unknown(what: str, found: str, remedy: str = "") -> Finding:
    return Finding(what, Verdict.UNKNOWN, found, remedy)


def looked(what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What `look` finds. Who may not look, or gets no answer, knows nothing; no more than that."""
    try:
        return list(look())
    except Denied as error:
        return [unknown(what, f"you may not look: {error.fault.what}", error.fault.remedy)]
    except Unreachable as error:
        return [unknown(what, error.fault.what, error.fault.remedy)]
    except HandfulError as error:
        return [trouble(what, error.fault.what, error.fault.remedy)]
    except (LookupError, TypeError, ValueError) as error:
        # An answer that holds what AWS's would not.
        strange = translate_aws_error(error, what).fault
        return [unknown(what, strange.what, strange.remedy)]
