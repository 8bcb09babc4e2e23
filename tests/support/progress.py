"""The one `Progress` of the tests that remembers what it was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from handful.progress import Scalar


@dataclass
class Recording:
    """A `Progress` that remembers."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    advances: list[tuple[str, int, int | None, str, dict[str, Scalar]]] = field(
        default_factory=list
    )
    """Tasks, how many are done of how many, of what, and the figures beside."""
    tables: list[tuple[str, list[tuple[Scalar, ...]]]] = field(default_factory=list)
    """Titles and rows."""
    steps: list[str] = field(default_factory=list)
    """What happened in which order: tasks when they began, tables by their titles."""
    lines: list[str] = field(default_factory=list)
    """Notes, warnings and tables in their order, as a person would read them."""

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.lines.append(message)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.advances.append((task, done, total, unit, dict(figures or {})))
        if task not in self.steps:
            self.steps.append(task)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        self.tables.append((title, [tuple(row) for row in rows]))
        self.steps.append(title)
        self.lines += [title, *(" | ".join(map(str, row)) for row in rows)]
