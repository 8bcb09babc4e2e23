"""Small drawings as inline SVG: they need no script, no font and no network."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560.0, 220.0
LEFT, BOTTOM, TOP, RIGHT = 46.0, 28.0, 12.0, 12.0
Point = tuple[float, float]


def line_chart(
    series: Sequence[tuple[str, str, Sequence[Point]]], x_name: str, title: str
) -> Markup:
    """Lines over a common x axis. Each series: its name, its CSS class, its (x, y) points."""
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
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
        value = y_low + share * (y_high - y_low)
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


def stacked_bar(parts: Sequence[tuple[str, int, str]], title: str) -> Markup:
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


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _svg(body: str, width: float, height: float, title: str, *, stretch: bool = False) -> Markup:
    ratio = ' preserveAspectRatio="none"' if stretch else ""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"{ratio}'
    return Markup(f'<svg role="img" aria-label="{escape(title)}" {box}>{body}</svg>')
