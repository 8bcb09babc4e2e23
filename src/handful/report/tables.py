"""The tables of the page: what has no figure in it does not stand in it.

A column that is empty in every row is left out. On a narrow screen a table of figures moves
sideways in a frame of its own, below its caption and beside the names of its rows, which stay; of
one with sentences in it each row becomes a card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column's heading, and the CSS class of all its cells."""

    name: str
    css: str = ""
    """num: figures, to the right; keep: in one line; prose: sentences, which need room."""


Heads = list[str | Column]


@dataclass(frozen=True)
class Cell:
    """One cell. A `Markup` is shown as it is, any other text is escaped."""

    text: str
    css: str = ""
    """Beside its column's."""

    @property
    def is_empty(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True)
class Row:
    """One row; `id` is what a link leads to."""

    cells: tuple[Cell, ...]
    id: str = ""


@dataclass(frozen=True)
class Table:
    """What the macro of table.html.j2 draws."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    foot: tuple[Cell, ...]
    header: int
    """The number of the column that names the row."""
    label: str
    """What a screen reader calls the frame."""
    css: str

    @property
    def is_cards(self) -> bool:
        """Has it sentences? On a narrow screen each of its rows is a card, read from above."""
        return any(column.css == "prose" for column in self.columns)


def num(name: str) -> Column:
    """A column of figures."""
    return Column(name, "num")


def prose(name: str) -> Column:
    """A column of sentences."""
    return Column(name, "prose")


def table(
    caption: str,
    columns: Sequence[str | Column],
    rows: Iterable[Sequence[str | Cell] | Row],
    *,
    foot: Sequence[str] = (),
    header: int = 0,
    label: str = "",
    css: str = "sortable",
) -> Table:
    """A table of these rows, without the columns that are empty in all of them."""
    heads = [Column(one) if isinstance(one, str) else one for one in columns]
    whole = [one if isinstance(one, Row) else Row(_build_table_cells(one)) for one in rows]
    shown = [
        number
        for number in range(len(heads))
        if number == header or not whole or any(not row.cells[number].is_empty for row in whole)
    ]
    return Table(
        caption,
        tuple(heads[number] for number in shown),
        tuple(Row(tuple(row.cells[number] for number in shown), row.id) for row in whole),
        tuple(Cell(foot[number]) for number in shown) if foot else (),
        shown.index(header),
        label or caption,
        css,
    )


def _build_table_cells(row: Sequence[str | Cell]) -> tuple[Cell, ...]:
    return tuple(one if isinstance(one, Cell) else Cell(one) for one in row)
