"""The drawings of a search for settings: its history, its settings as lines, and what mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from handful.report.drawings import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, _span, _svg

SIDE = 70.0
"""Room for names beside the first and the last axis."""
ROW, NAMES = 24.0, 190.0


@dataclass(frozen=True)
class Axis:
    """One upright axis: where each trial crosses it, 0 at the foot and 1 at the head."""

    name: str
    foot: str
    head: str
    places: tuple[float, ...]


def history(points: Sequence[tuple[float, float, str]], best: Sequence[Point], name: str) -> Markup:
    """Each trial as a dot (number, value, CSS class), and the best so far as a line."""
    if not points:
        return Markup("")
    x_low, x_high = _span([x for x, _, _ in points])
    y_low, y_high = _span([y for _, y, _ in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP),
        )

    parts = []
    for value in (y_low, (y_low + y_high) / 2, y_high):
        _, y = at(x_low, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    for x, anchor, text in (
        (LEFT, "start", f"{min(x for x, _, _ in points):.0f}"),
        (middle, "middle", "trial"),
        (WIDTH - RIGHT, "end", f"{max(x for x, _, _ in points):.0f}"),
    ):
        parts.append(f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="{anchor}">{text}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in best)
    parts.append(f'<polyline class="c1" points="{line}"/>')
    for number, value, css in points:
        x, y = at(number, value)
        parts.append(
            f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
            f"<title>trial {number:.0f}: {value:.4f}</title></circle>"
        )
    return _svg("".join(parts), WIDTH, HEIGHT, f"{name} of each trial, and the best so far")


def parallel(axes: Sequence[Axis], numbers: Sequence[int], best: int) -> Markup:
    """Parallel coordinates: every trial a line through its settings; the best one stands out."""
    if not axes or not numbers:
        return Markup("")
    gap = (WIDTH - 2 * SIDE) / max(len(axes) - 1, 1)
    foot, head = HEIGHT - BOTTOM, TOP + 18
    parts = []
    for index, axis in enumerate(axes):
        x = SIDE + index * gap
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{head}" y2="{foot}"/>',
            f'<text x="{x:.1f}" y="{TOP}" text-anchor="middle">{escape(axis.name)}</text>',
            f'<text x="{x + 4:.1f}" y="{head + 4:.1f}">{escape(axis.head)}</text>',
            f'<text x="{x + 4:.1f}" y="{foot + 12:.1f}">{escape(axis.foot)}</text>',
        ]
    # The best one last, so that it lies on top.
    for row in sorted(range(len(numbers)), key=lambda row: numbers[row] == best):
        line = " ".join(
            f"{SIDE + index * gap:.1f},{foot - axis.places[row] * (foot - head):.1f}"
            for index, axis in enumerate(axes)
        )
        own = numbers[row] == best
        look = 'class="c1"' if own else 'class="c0" opacity="0.35"'
        parts.append(f'<polyline {look} points="{line}"/>')
    names = ", ".join(axis.name for axis in axes)
    return _svg("".join(parts), WIDTH, HEIGHT, f"The settings of each trial: {names}")


def bars(shares: Mapping[str, float], title: str) -> Markup:
    """Shares of 1 as bars, one below the other."""
    if not shares:
        return Markup("")
    room, parts = WIDTH - NAMES - 60, []
    for index, (name, share) in enumerate(shares.items()):
        y, width = index * ROW, share * room
        parts += [
            f'<text x="{NAMES - 8}" y="{y + 16:.1f}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="c0" x="{NAMES}" y="{y + 5:.1f}" width="{width:.1f}" height="14"/>',
            f'<text x="{NAMES + width + 6:.1f}" y="{y + 16:.1f}">{share:.0%}</text>',
        ]
    return _svg("".join(parts), WIDTH, ROW * len(shares), title)


def _by_size(text: str) -> tuple[float, str]:
    """Numbers by their size, words after them by name."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def axis(name: str, texts: Sequence[str], kind: str) -> Axis:
    """An axis over what the trials had: numbers by their size (log: by magnitude), else words."""
    if kind == "choice":
        words = sorted(set(texts), key=_by_size)
        most = max(len(words) - 1, 1)
        places = tuple(words.index(text) / most for text in texts)
        return Axis(name, words[0], words[-1] if len(words) > 1 else "", places)
    numbers = [float(text) for text in texts]
    sizes = [math.log(number) for number in numbers] if kind == "log" else numbers
    low, high = _span(sizes)
    places = tuple((size - low) / (high - low) for size in sizes)
    return Axis(name, f"{min(numbers):.3g}", f"{max(numbers):.3g}", places)
