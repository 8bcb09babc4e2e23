"""What happened to kept artifacts after matching: failures, and how they were repaired."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from handful.errors import StepError
from handful.records import Fate
from handful.settings import Limit
from handful.steps.reconcile.keys.names import quote_names

EXAMPLES = 5


@dataclass
class Troubles:
    """Collects failures per artifact; too many of them end the step."""

    limit: Limit
    """MAX_FAILED."""
    artifacts: int
    """Of how many."""
    failed: dict[str, tuple[Fate, str]] = field(default_factory=dict)
    """Artifact id → the fate that took its `kept` away, and why."""
    repaired: dict[str, list[str]] = field(default_factory=dict)
    """Artifact id → what was done."""
    dropped: set[str] = field(default_factory=set)
    """Those of `failed` that nobody failed on: production never had what they need."""

    @classmethod
    def of(cls, limit: Limit, rows: pl.DataFrame) -> Troubles:
        """For the artifacts that matching kept, or lost because a file could not be read."""
        kept = rows.filter(pl.col("fate") == Fate.KEPT.value).height
        lost = rows.filter(pl.col("fate") == Fate.COPY_FAILED.value)
        troubles = cls(limit, kept + lost.height)
        for artifact_id, reason in lost.select("artifact_id", "reason").iter_rows():
            troubles.fail(artifact_id, Fate.COPY_FAILED, reason)
        return troubles

    def fail(self, artifact_id: str, fate: Fate, reason: str) -> None:
        """The first failure of an artifact counts."""
        self.failed.setdefault(artifact_id, (fate, reason))

    def drop(self, artifact_id: str, fate: Fate, reason: str) -> None:
        """As `fail`, but MAX_FAILED does not count it."""
        if artifact_id not in self.failed:
            self.fail(artifact_id, fate, reason)
            self.dropped.add(artifact_id)

    def repair(self, artifact_id: str, how: str) -> None:
        self.repaired.setdefault(artifact_id, []).append(how)

    def check(self) -> None:
        """`StepError` if more artifacts failed than MAX_FAILED allows."""
        counted = {i: why for i, (_, why) in self.failed.items() if i not in self.dropped}
        if not self.limit.allows(len(counted), self.artifacts):
            causes = [f"{quote_names([i])}: {reason}" for i, reason in counted.items()]
            raise self.too_many(len(counted), causes)

    def too_many(self, count: int, causes: list[str]) -> StepError:
        told = "".join(f"\n  {cause}" for cause in causes[:EXAMPLES])
        return StepError(
            f"{count:,} of {self.artifacts:,} artifacts failed, more than MAX_FAILED = "
            f"{self.limit} allows:{told}",
            where="reconcile",
            remedy="mend the cause and run again: what has arrived stays; or raise MAX_FAILED",
        )
