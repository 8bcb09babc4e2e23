"""Progress for Python: tqdm's bars, which are widgets in a notebook and text elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handful.progress import Scalar, printable

_WIDTH = 1000
"""Of a table, at most: an output that is scrolled is easier to read than one that is wrapped."""


class NotebookBars:
    """A `Progress` of bars, printed lines and tables."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def note(self, message: str) -> None:
        self._print("\n".join(printable(line) for line in message.splitlines()))

    def warn(self, message: str) -> None:
        self.note(f"warning: {message}")

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        from tqdm.auto import tqdm

        bar = self._bars.get(task)
        if bar is None:
            bar = tqdm(desc=task, total=total, unit=f" {unit}", initial=done, leave=False)
            self._bars[task] = bar
        bar.total = total
        if figures:
            told = {
                name: f"{value:.3g}" if isinstance(value, float) else value
                for name, value in figures.items()
            }
            bar.set_postfix(told, refresh=False)
        bar.update(done - bar.n)
        if total is not None and done >= total:
            self._bars.pop(task).close()

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        shown = Table(title=Text(printable(title)), title_justify="left", box=None)
        for column in columns:
            shown.add_column(Text(printable(column)))
        for row in rows:
            shown.add_row(*(Text(printable("" if one is None else str(one))) for one in row))
        Console(width=_WIDTH).print(shown)

    def close(self) -> None:
        """Take away the bars of tasks that were not finished."""
        while self._bars:
            self._bars.popitem()[1].close()

    def _print(self, text: str) -> None:
        from tqdm.auto import tqdm

        tqdm.write(text)
