"""Small drawings as inline SVG: they need no script, no font and no network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560.0, 220.0
LEFT, BOTTOM, TOP, RIGHT = 46.0, 28.0, 12.0, 12.0
NARROW = 400.0
_LARGEST_DRAWABLE = 1e300
Point = tuple[float, float]


def line_chart(
    series: Sequence[tuple[str, str, Sequence[Point]]], x_name: str, title: str
) -> Markup:
    """Lines over a common x axis. Each series: its name, its CSS class, its (x, y) points."""
    series = [
        (name, css, [point for point in line if all(map(_can_be_drawn, point))])
        for name, css, line in series
    ]
    points = [point for _, _, line in series for point in line]
    if not points:
        return Markup("")
    x_low, x_high = _span([x for x, _ in points])
    y_low, y_high = _span([y for _, y in points])

    def place(point: Point) -> str:
        x = LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP)
        return f"{x:.1f},{y:.1f}"

    parts = []
    for value in round_values(y_low, y_high, 4):
        _, y = map(float, place((x_low, value)).split(","))
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for share in (0.0, 1.0):
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        value = x_low + share * (x_high - x_low)
        anchor = "end" if share else "start"
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{value:.3g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>'
    )
    for _, css, line in series:
        if not line:
            continue
        path = " ".join(place(point) for point in line)
        parts.append(f'<polyline class="{css}" points="{path}"/>')
        last = place(line[-1]).split(",")
        parts.append(f'<circle class="{css}" cx="{last[0]}" cy="{last[1]}" r="3"/>')
    return _svg("".join(parts), WIDTH, HEIGHT, title)


def square_chart(
    series: Sequence[tuple[str, Sequence[tuple[float, float, float]]]],
    axes: tuple[str, str],
    title: str,
    lows: tuple[float, float] = (0.0, 0.0),
    *,
    diagonal: bool = True,
) -> Markup:
    """Shares against shares, up to 1. Each series: its CSS class, its (x, y, radius) points.

    `lows`: where the axes begin; `diagonal`: the line on which both are equal.
    """
    side, left, bottom, top = 300.0, 52.0, 44.0, 10.0

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - lows[0]) / (1 - lows[0]) * side,
            top + side - (y - lows[1]) / (1 - lows[1]) * side,
        )

    parts = []
    for step in range(6):
        share = step / 5
        value = lows[0] + share * (1 - lows[0])
        x, foot = at(value, lows[1])
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{foot:.1f}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{foot + 16:.1f}" text-anchor="middle">{value:.2g}</text>'
        )
        value = lows[1] + share * (1 - lows[1])
        _, y = at(lows[0], value)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + side}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    middle = top + side / 2
    parts += [
        f'<text x="{left + side / 2}" y="{top + side + 36}" text-anchor="middle">'
        f"{escape(axes[0])}</text>",
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{escape(axes[1])}</text>",
    ]
    if diagonal:
        (x1, y1), (x2, y2) = at(*lows), at(1.0, 1.0)
        parts.append(f'<line class="even" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    for css, points in series:
        places = [(*at(x, y), radius) for x, y, radius in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline class="{css} thin" points="{line}"/>')
        parts += [
            f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
            for x, y, radius in places
        ]
    return _svg("".join(parts), left + side + 10, top + side + bottom, title)


def intervals_chart(
    rows: Sequence[tuple[str, str, float, float, float]], bar: float | None, title: str
) -> Markup:
    """A row for each figure: its name, CSS class, value, and the ends of its interval.

    `bar` is a value that all are held against: an upright broken line.
    """
    rows = [row for row in rows if all(map(_can_be_drawn, row[2:]))]
    bar = bar if bar is not None and _can_be_drawn(bar) else None
    if not rows:
        return Markup("")
    names, line, width = 210.0, 26.0, 640.0
    ends = [end for row in rows for end in row[2:]] + ([] if bar is None else [bar])
    low, high = _span(ends)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)

    def at(value: float) -> float:
        return names + (value - low) / (high - low) * (width - names - 20)

    foot = line * len(rows) + 6
    parts = []
    for value in round_values(low, high, 6):
        x = at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{foot}"/>')
        parts.append(f'<text x="{x:.1f}" y="{foot + 16}" text-anchor="middle">{value:g}</text>')
    if bar is not None:
        parts.append(
            f'<line class="bar" x1="{at(bar):.1f}" x2="{at(bar):.1f}" y1="0" y2="{foot}"/>'
        )
    for number, (name, css, value, first, last) in enumerate(rows):
        y = line * number + line / 2 + 3
        parts += [
            f'<text x="{names - 12}" y="{y + 4:.1f}" text-anchor="end" class="{css}">'
            f"{escape(name)}</text>",
            f'<line class="reach {css}" x1="{at(first):.1f}" x2="{at(last):.1f}" '
            f'y1="{y}" y2="{y}"/>',
            f'<circle class="{css}" cx="{at(value):.1f}" cy="{y}" r="5"/>',
        ]
    return _svg("".join(parts), width, foot + 24, title)


def draw_stacked_bar(parts: Sequence[tuple[str, int, str]], title: str) -> Markup:
    """One bar of the whole width. Each part: its name, its count, its CSS class."""
    total = sum(count for _, count, _ in parts) or 1
    x, drawn = 0.0, []
    for name, count, css in parts:
        width = max(count / total * 1000.0, 3.0 if count else 0.0)
        drawn.append(
            f'<rect class="{css}" x="{x:.1f}" y="0" width="{width:.1f}" height="26">'
            f"<title>{escape(name)}: {count:,}</title></rect>"
        )
        x += width
    return _svg("".join(drawn), x or 1000.0, 26.0, title, stretch=True)


def round_values(low: float, high: float, most: int) -> list[float]:
    """Values that a person would write at an axis: at most `most` multiples of 1, 2 or 5 × 10^n."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(number * step, 12) for number in range(first, last + 1)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high > low:
        return low, high
    # Large numbers have no neighbours so near.
    half = 0.5 if abs(low) < 1e9 else abs(low) / 2
    return low - half, high + half


def _can_be_drawn(value: float) -> bool:
    """NaN cannot, and neither can what has no room left for an axis around it."""
    return abs(value) < _LARGEST_DRAWABLE


def _svg(body: str, width: float, height: float, title: str, *, stretch: bool = False) -> Markup:
    ratio = ' preserveAspectRatio="none"' if stretch else ""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"{ratio}'
    # Letters would be too small to be read on a narrow screen: they are larger there.
    wide = ' class="wide"' if width > NARROW and not stretch else ""
    # The title is escaped; the body is made of Markup.
    return Markup(f'<svg role="img" aria-label="{escape(title)}"{wide} {box}>{body}</svg>')  # nosec B704
