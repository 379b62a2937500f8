"""The plot of a bench: erasure against preservation, with a larger marker the more a method cost. Plain SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from erasure.bench.results import Row
from erasure.bench.statistics import Summary, by_variant, cost, figure

SIDE, LEFT, TOP, LEGEND, LETTER = 300, 56, 40, 300, 7
COLOURS = ("#1f6fb4", "#d9622b", "#2e8b57", "#b03a8c", "#8a6d1d", "#5b5fc7", "#c0392b", "#3a8f9e", "#6d6d6d", "#a0522d")


@dataclass(frozen=True)
class Point:
    """A method in one panel: its figures across and up, and its U-Net rows."""

    name: str
    x: Summary
    y: Summary
    rows: float
    colour: str


def scatter_svg(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> str:
    """Draw one panel per pair (figure of erasure, figure of preservation), with a legend of names and U-Net rows.

    Error bars are one standard deviation long. Methods further up and to the right are better. Returns "" if no row
    has the figures.
    """
    every = [(pair, points(rows, *pair)) for pair in pairs]
    panels = [(pair, found) for pair, found in every if found]
    if not panels:
        return ""
    step = LEFT + SIDE + 24
    names = panels[0][1]
    width = step * len(panels) + max(LEGEND, 90 + LETTER * max(len(point.name) for point in names))
    height = TOP + max(SIDE, 20 * len(names) + 30) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape('Erasure against preservation: ' + ', '.join(p.name for p in names))}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for i, ((x, y), found) in enumerate(panels):
        parts += _panel(found, x, y, step * i + LEFT)
    parts += _legend(names, step * len(panels) + 10)
    return "\n".join([*parts, "</svg>"]) + "\n"


def points(rows: Sequence[Row], x: str, y: str) -> list[Point]:
    """Return a point for each variant that has both figures."""
    found = []
    for i, (name, runs) in enumerate(by_variant(rows).items()):
        across, up = figure(runs, x), figure(runs, y)
        if across.runs and up.runs:
            found.append(Point(name, across, up, cost(runs, "rows_training").mean, COLOURS[i % len(COLOURS)]))
    return found


def radius(rows: float, most: float) -> float:
    """Return a marker's radius; its area, beyond a smallest marker, grows with the rows."""
    return 4 + 14 * math.sqrt(rows / most) if most > 0 else 4.0


def _panel(found: list[Point], x: str, y: str, left: float) -> list[str]:
    across, up = _range([p.x for p in found]), _range([p.y for p in found])

    def sx(value: float) -> float:
        return left + (value - across[0]) / (across[1] - across[0]) * SIDE

    def sy(value: float) -> float:
        return TOP + SIDE - (value - up[0]) / (up[1] - up[0]) * SIDE

    parts = [f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>']
    for value in _ticks(*across):
        parts.append(f'<line x1="{sx(value):.1f}" x2="{sx(value):.1f}" y1="{TOP}" y2="{TOP + SIDE}" stroke="#eee"/>')
        parts.append(f'<text x="{sx(value):.1f}" y="{TOP + SIDE + 16}" text-anchor="middle">{value:g}</text>')
    for value in _ticks(*up):
        parts.append(f'<line x1="{left}" x2="{left + SIDE}" y1="{sy(value):.1f}" y2="{sy(value):.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{left - 6}" y="{sy(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = left + SIDE / 2
    parts.append(f'<text x="{middle}" y="{TOP + SIDE + 36}" text-anchor="middle">erased: {escape(x)} (%)</text>')
    parts.append(f'<text x="{middle}" y="{TOP - 12}" text-anchor="middle">preserved: {escape(y)} (%), upwards</text>')
    most = max(p.rows for p in found)
    for number, point in enumerate(found, 1):
        cx, cy = sx(point.x.mean), sy(point.y.mean)
        bars = [(sx(point.x.mean - s), cy, sx(point.x.mean + s), cy) for s in [point.x.spread] if s == s]
        bars += [(cx, sy(point.y.mean - s), cx, sy(point.y.mean + s)) for s in [point.y.spread] if s == s]
        for x1, y1, x2, y2 in bars:
            parts.append(
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{point.colour}" opacity="0.5"/>'
            )
        label = f"{point.name}: {x} {point.x.mean:.1f}, {y} {point.y.mean:.1f}, {point.rows:,.0f} rows"
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{radius(point.rows, most):.1f}" fill="{point.colour}" '
            f'fill-opacity="0.45" stroke="{point.colour}"><title>{escape(label)}</title></circle>'
        )
        parts.append(f'<text x="{cx:.1f}" y="{cy + 4:.1f}" text-anchor="middle" font-weight="bold">{number}</text>')
    return parts


def _legend(found: list[Point], left: float) -> list[str]:
    parts = [f'<text x="{left}" y="{TOP - 12}">method (rows of the U-Net in training)</text>']
    for number, point in enumerate(found, 1):
        y = TOP + 20 * number
        parts.append(f'<circle cx="{left + 7}" cy="{y - 4}" r="6" fill="{point.colour}" fill-opacity="0.6"/>')
        text = f"{number}  {point.name} ({point.rows:,.0f})"
        parts.append(f'<text x="{left + 20}" y="{y}">{escape(text)}</text>')
    return parts


def _range(values: Sequence[Summary]) -> tuple[float, float]:
    """Return the lowest and highest value of an axis: all error bars and a margin, rounded to steps of 5."""
    low = min(v.mean - (v.spread if v.spread == v.spread else 0) for v in values)
    high = max(v.mean + (v.spread if v.spread == v.spread else 0) for v in values)
    return 5 * math.floor((low - 2) / 5), 5 * math.ceil((high + 2) / 5)


def _ticks(low: float, high: float) -> list[float]:
    step = next((s for s in (5, 10, 20, 50) if (high - low) / s <= 8), 100)
    return [float(v) for v in range(math.ceil(low / step) * step, min(100, int(high)) + 1, step)]
