"""Both losses over the updates: a drawing that stretches with the page, and the same in words and numbers.

Lines and dots are one SVG, stretched without its strokes; labels are HTML over it, so that they keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from erasure.ui.html import box, element, empty_html, join, more, quiet
from erasure.ui.units import number

SIDE = 1000  # units of the drawing, in both directions
DECADES = 4  # what lies further below the largest loss is drawn at the bottom
TABLE_ROWS = 12

Point = tuple[int, float]


class Curve(NamedTuple):
    """One of the losses: ``kind`` is its class, ``says`` what a reader should look for."""

    kind: str
    name: str
    says: str
    points: list[Point]


class Frame(NamedTuple):
    """What is in view: updates from ``first`` to ``last``, losses from 10^``low`` to 10^``high``."""

    first: int
    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return (step - self.first) / max(1, self.last - self.first)

    def y(self, loss: float) -> float:
        """0 at the top, 1 at the bottom."""
        place = (self.high - math.log10(loss)) / (self.high - self.low) if loss > 0 else 1.0
        return min(1.0, max(0.0, place))


def chart_html(losses: Sequence[tuple[int, float, float]], steps: int = 0) -> Markup:
    """``losses`` as in a snapshot: (update, erase, preserve); ``steps`` ends the axis, 0: the last point does."""
    rows = [row for row in losses if all(math.isfinite(value) for value in row)]
    curves = [
        Curve("erase", "Erasing", "should fall", [(n, e) for n, e, _ in rows if e > 0]),
        Curve("keep", "Preserving", "should stay low", [(n, p) for n, _, p in rows if p > 0]),
    ]
    if not any(len(curve.points) > 1 for curve in curves):
        return empty_html("The losses will be drawn here.", "Both begin with the first updates.")
    frame = _frame(rows, curves, steps)
    summary = _summary(rows)
    drawing = element(
        "svg",
        *(_curve(curve, frame) for curve in curves),
        class_="ae-lines-svg",
        viewBox=f"0 0 {SIDE} {SIDE}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    plot = element("div", _grid(frame), drawing, class_="ae-plot", role="img", aria_label=summary)
    title = element("span", "Loss ", quiet("(log scale)"), class_="ae-chart-title")
    head = element("figcaption", title, _legend(curves), class_="ae-chart-head")
    table = more("Losses as a table", element("p", summary) + _table(rows), keep="losses")
    name = element("div", "update", class_="ae-x-name")
    return box("chart", element("figure", head, plot, name, class_="ae-figure"), table)


def _frame(rows: list[tuple[int, float, float]], curves: list[Curve], steps: int) -> Frame:
    values = [math.log10(loss) for curve in curves for _, loss in curve.points]
    high = max(values)
    low = max(min(values), high - DECADES)
    if high - low < 1:  # less than a decade says little and wobbles with every point
        middle = (high + low) / 2
        high, low = middle + 0.5, middle - 0.5
    pad = 0.04 * (high - low)
    first = min(rows[0][0], 1) - 1
    return Frame(first, max(rows[-1][0], steps), low - pad, high + pad)


def _curve(curve: Curve, frame: Frame) -> Markup:
    """Faint dots (strokes of no length with round ends) under the smoothed line."""
    dots = "".join(f"M{_at(frame, point)}h0" for point in curve.points)
    line = " ".join(_at(frame, point) for point in smooth(curve.points))
    shape = Markup('<path class="ae-raw" d="{}"/><polyline class="ae-smooth" points="{}"/>').format(dots, line)
    return element("g", shape, class_=f"ae-curve ae-curve-{curve.kind}")


def _at(frame: Frame, point: Point) -> str:
    return f"{SIDE * frame.x(point[0]):.1f},{SIDE * frame.y(point[1]):.1f}"


def smooth(points: Sequence[Point]) -> list[Point]:
    """A centred mean of the logarithms, with weights that fall off to both sides; as many points as given."""
    reach = max(2, len(points) // 10)
    logs = [math.log10(loss) for _, loss in points]
    smoothed = []
    for i, (step, _) in enumerate(points):
        near = range(max(0, i - reach), min(len(points), i + reach + 1))
        weights = [reach + 1 - abs(i - k) for k in near]
        mean = sum(w * logs[k] for w, k in zip(weights, near, strict=True)) / sum(weights)
        smoothed.append((step, 10**mean))
    return smoothed


def _grid(frame: Frame) -> Markup:
    levels = [
        element("div", element("span", number(v)), class_="ae-level", style=f"top:{100 * frame.y(v):.2f}%")
        for v in _levels(frame)
    ]
    marks = [
        element("div", element("span", step), class_="ae-mark", style=f"left:{100 * frame.x(step):.2f}%")
        for step in _marks(frame)
    ]
    return element("div", *levels, *marks, class_="ae-chart-grid", aria_hidden="true")


def _levels(frame: Frame) -> list[float]:
    """Losses with a line and a label: powers of ten, with 2 and 5 between them where there is room."""
    factors = (1, 2, 5) if frame.high - frame.low < 1.6 else (1, 3) if frame.high - frame.low < 2.4 else (1,)
    exponents = range(math.floor(frame.low), math.ceil(frame.high) + 1)
    values = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in values if frame.low <= math.log10(value) <= frame.high]


def _marks(frame: Frame) -> list[int]:
    """About four round updates, the first and the last among them."""
    length = max(1, frame.last - frame.first)
    raw = length / 4
    scale = 10 ** math.floor(math.log10(raw)) if raw >= 1 else 1
    step = max(1, next(int(scale * f) for f in (1, 2, 2.5, 5, 10) if scale * f >= raw or f == 10))
    inner = range(frame.first, frame.last + 1, step)
    return [mark for mark in inner if frame.last - mark > step / 2] + [frame.last]


def _legend(curves: list[Curve]) -> Markup:
    line = Markup('<svg viewBox="0 0 24 8" aria-hidden="true"><path class="ae-smooth" d="M1,4H23"/></svg>')
    items = [
        element(
            "span",
            line,
            element("span", curve.name, " ", element("span", curve.says, class_="ae-quiet ae-says")),
            class_=f"ae-key ae-curve-{curve.kind}",
        )
        for curve in curves
    ]
    return element("span", *items, class_="ae-legend")


def _summary(rows: list[tuple[int, float, float]]) -> str:
    (first, erase, preserve), (last, erase_now, preserve_now) = rows[0], rows[-1]
    return (
        f"From update {first} to {last} the loss of erasing went from {number(erase)} to {number(erase_now)}, "
        f"that of preserving from {number(preserve)} to {number(preserve_now)}."
    )


def _table(rows: list[tuple[int, float, float]]) -> Markup:
    count = min(TABLE_ROWS, len(rows))
    picked = sorted({round(i * (len(rows) - 1) / max(1, count - 1)) for i in range(count)})
    body = join(
        element("tr", element("th", step, scope="row"), element("td", number(erase)), element("td", number(preserve)))
        for step, erase, preserve in (rows[i] for i in picked)
    )
    head = element("tr", *(element("th", name, scope="col") for name in ("Update", "Erasing", "Preserving")))
    return element("table", element("thead", head), element("tbody", body), class_="ae-table")
