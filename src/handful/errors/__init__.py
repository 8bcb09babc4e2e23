"""Every error that handful raises on purpose.

    HandfulError
    ├── UserError              exit 2: the settings, the functions or the data are at fault
    │   ├── SettingsError      settings.ini, all of its faults together
    │   ├── FunctionsError     functions.py, all of its faults together
    │   ├── NotReady           the account is not ready for jobs, all of its faults together
    │   └── DataError          labels, files or encoded data that cannot be used
    ├── StepError              exit 1: a step failed
    │   ├── Locked             somebody else holds the lock, or has taken it
    │   ├── OutOfResources     the machine has no more memory, files or processes to give
    │   └── StoreError         a store or a database answered otherwise than hoped
    │       ├── Absent         it is not there
    │       ├── Denied         it may be there; these credentials may not see or change it
    │       ├── Unreachable    nobody answered; trying again may help
    │       ├── Damaged        it is there, and not as it was written
    │       └── Full           no room left to write to
    └── Interrupted            exit 130: the user stopped it
        └── LeftRunning        … following what runs elsewhere, and goes on there

An error says what is wrong, where, and what to do. None of them ever carries a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: `where` (file, section, key, line), `what`, and the `remedy`."""

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{self.where}: {self.what}{remedy}"


class HandfulError(Exception):
    """The root; `exit_status` is what the command line leaves with."""

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.fault = Fault(where, what, remedy)
        super().__init__(str(self.fault) if where else f"{what}\n    {remedy}" if remedy else what)


class UserError(HandfulError):
    """The settings, the functions or the data are at fault."""

    exit_status = 2


class ManyFaults(UserError):
    """Several faults of one file, reported together."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        if not faults:
            raise ValueError("an error needs at least one fault")
        self.faults = tuple(faults)
        HandfulError.__init__(self, "\n".join(str(fault) for fault in self.faults))


class SettingsError(ManyFaults):
    """Faults of settings.ini."""


class FunctionsError(ManyFaults):
    """Faults of functions.py."""


class NotReady(ManyFaults):
    """What the account on managed machines lacks."""


class DataError(UserError):
    """Labels, files or encoded data that cannot be used."""


class StepError(HandfulError):
    """A step could not finish."""


class Locked(StepError):
    """Somebody else holds the lock, or has taken it."""


class OutOfResources(StepError):
    """The machine, or a limit on it, has no more memory, files or processes to give."""


class StoreError(StepError):
    """A store or a database answered otherwise than hoped."""


class Absent(StoreError):
    """What was asked for is not there."""


class Denied(StoreError):
    """These credentials may not do this."""


class Archived(StoreError):
    """It is there, in an archive: it has to be restored before it can be read."""


class Unreachable(StoreError):
    """Nobody answered, or only with server errors."""


class Damaged(StoreError):
    """A file is not as the step that wrote it left it; `remedy` names the step."""


class Full(StoreError):
    """No room is left on the device."""


class Interrupted(HandfulError):
    """The user stopped the run."""

    exit_status = 130


class LeftRunning(Interrupted):
    """The user stopped following a job that runs elsewhere; `stop` asks for its end, too."""

    def __init__(self, what: str, *, stop: Callable[[], object], remedy: str = "") -> None:
        super().__init__(what, remedy=remedy)
        self.stop = stop
