"""Curves over updates: a figure with a legend, and the same in words and as a table.

Lines and dots are one SVG that stretches with the page, except for the width of its strokes; labels are HTML over it,
so that they keep their size. Curves differ in colour and in how they are dashed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from erasure.ui.html import element, join, more, quiet
from erasure.ui.units import number

SIDE = 1000  # units of the drawing, in both directions
DECADES = 4  # values further below the largest one are drawn at the bottom
TABLE_ROWS = 12
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)

Point = tuple[int, float]


class Label(NamedTuple):
    """How a series is drawn and named: ``kind`` is its class, ``says`` what a reader should look for."""

    kind: str
    name: str
    says: str


class Curve(NamedTuple):
    """A series with its label. ``values``, by update, are all that are known and finite."""

    label: Label
    values: dict[int, float]

    @classmethod
    def of(cls, label: Label, points: Sequence[Point]) -> Curve:
        return cls(label, {step: value for step, value in points if math.isfinite(value)})

    @property
    def positive(self) -> list[Point]:
        """The points that a log scale can show."""
        return [(step, value) for step, value in self.values.items() if value > 0]


class Frame(NamedTuple):
    """What is in view: updates from 0, which is before the first one, to ``last``, heights from ``low`` to ``high``.

    ``log``: heights are logarithms of values to base 10, and lines are smoothed; else values are shares.
    """

    last: int
    low: float
    high: float
    log: bool

    def x(self, step: float) -> float:
        return step / max(1, self.last)

    def y(self, value: float) -> float:
        """Return the height of a value: 0 is the top, 1 the bottom."""
        if self.log and value <= 0:
            return 1.0
        place = (self.high - (math.log10(value) if self.log else value)) / (self.high - self.low)
        return min(1.0, max(0.0, place))

    def words(self, value: float) -> str:
        return number(value) if self.log else f"{value:.0%}"


def log_frame(curves: Sequence[Curve], steps: int = 0) -> Frame:
    """Return the frame of values of any size. ``steps``: where the axis ends at least."""
    values = [math.log10(value) for curve in curves for _, value in curve.positive]
    high = max(values)
    low = max(min(values), high - DECADES)
    if high - low < 1:  # less than a decade shows little and wobbles with every point
        middle = (high + low) / 2
        high, low = middle + 0.5, middle - 0.5
    pad = 0.04 * (high - low)
    return Frame(_last(curves, steps), low - pad, high + pad, log=True)


def share_frame(curves: Sequence[Curve], steps: int = 0) -> Frame:
    """Return the frame of values from 0 to 1, with room for lines at both ends."""
    return Frame(_last(curves, steps), -0.04, 1.04, log=False)


def _last(curves: Sequence[Curve], steps: int) -> int:
    return max(steps, *(step for curve in curves for step in curve.values))


def figure_html(curves: Sequence[Curve], frame: Frame, title: str, about: str, *, keep: str) -> Markup:
    """Return a figure of curves and its fold with words and table. ``about`` is said quietly behind the title;
    ``keep`` names the fold."""
    summary = _summary(curves, frame)
    drawing = element(
        "svg",
        *(_curve(curve, frame) for curve in curves),
        class_="ae-lines-svg",
        viewBox=f"0 0 {SIDE} {SIDE}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    plot = element("div", _grid(frame), drawing, class_="ae-plot", role="img", aria_label=summary)
    name = element("span", f"{title} ", quiet(about), class_="ae-chart-title")
    head = element("figcaption", name, _legend(curves), class_="ae-chart-head")
    table = more("The curves as a table", element("p", summary) + _table(curves, frame), keep=keep)
    axis = element("div", "update", class_="ae-x-name")
    return element("figure", head, plot, axis, class_="ae-figure") + table


def _curve(curve: Curve, frame: Frame) -> Markup:
    """Return dots (strokes of no length with round ends) under the line.

    They are faint where a smoothed line tells the story; each share is a finding, and may be the only one.
    """
    points = curve.positive if frame.log else [*curve.values.items()]
    dots = "".join(f"M{_at(frame, point)}h0" for point in points)
    line = " ".join(_at(frame, point) for point in (smooth(points) if frame.log else points))
    kind = "ae-raw" if frame.log else "ae-seen"
    shape = Markup('<path class="{}" d="{}"/><polyline class="ae-smooth" points="{}"/>').format(kind, dots, line)
    return element("g", shape, class_=f"ae-curve ae-curve-{curve.label.kind}")


def _at(frame: Frame, point: Point) -> str:
    return f"{SIDE * frame.x(point[0]):.1f},{SIDE * frame.y(point[1]):.1f}"


def smooth(points: Sequence[Point]) -> list[Point]:
    """Return as many points, smoothed by a centred mean of the logarithms whose weights fall off to both sides."""
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
        element("div", element("span", frame.words(v)), class_="ae-level", style=f"top:{100 * frame.y(v):.2f}%")
        for v in _levels(frame)
    ]
    marks = [
        element("div", element("span", step), class_="ae-mark", style=f"left:{100 * frame.x(step):.2f}%")
        for step in _marks(frame)
    ]
    return element("div", *levels, *marks, class_="ae-chart-grid", aria_hidden="true")


def _levels(frame: Frame) -> list[float]:
    """Return the values that get a line and a label: powers of ten, with 2 and 5 between them where there is room;
    for shares, quarters."""
    if not frame.log:
        return [*QUARTERS]
    factors = (1, 2, 5) if frame.high - frame.low < 1.6 else (1, 3) if frame.high - frame.low < 2.4 else (1,)
    exponents = range(math.floor(frame.low), math.ceil(frame.high) + 1)
    values = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in values if frame.low <= math.log10(value) <= frame.high]


def _marks(frame: Frame) -> list[int]:
    """Return about four round updates, the first and the last among them."""
    raw = max(1, frame.last) / 4
    scale = 10 ** math.floor(math.log10(raw)) if raw >= 1 else 1
    step = max(1, next(int(scale * f) for f in (1, 2, 2.5, 5, 10) if scale * f >= raw or f == 10))
    inner = range(0, frame.last + 1, step)
    return [mark for mark in inner if frame.last - mark > step / 2] + [frame.last]


def _legend(curves: Sequence[Curve]) -> Markup:
    line = Markup('<svg viewBox="0 0 24 8" aria-hidden="true"><path class="ae-smooth" d="M1,4H23"/></svg>')
    items = [
        element(
            "span",
            line,
            element("span", curve.label.name, " ", element("span", curve.label.says, class_="ae-quiet ae-says")),
            class_=f"ae-key ae-curve-{curve.label.kind}",
        )
        for curve in curves
    ]
    return element("span", *items, class_="ae-legend")


def _summary(curves: Sequence[Curve], frame: Frame) -> str:
    updates = sorted({step for curve in curves for step in curve.values})
    if len(updates) == 1:
        found = (f"{curve.label.name}: {frame.words(value)}" for curve in curves for value in curve.values.values())
        return f"After update {updates[0]}: {'; '.join(found)}."
    changes = []
    for curve in curves:
        values = [*curve.values.values()]
        changes.append(f"{curve.label.name} went from {frame.words(values[0])} to {frame.words(values[-1])}")
    return f"From update {updates[0]} to {updates[-1]}: {'; '.join(changes)}."


def _table(curves: Sequence[Curve], frame: Frame) -> Markup:
    updates = sorted({step for curve in curves for step in curve.values})
    count = min(TABLE_ROWS, len(updates))
    picked = sorted({round(i * (len(updates) - 1) / max(1, count - 1)) for i in range(count)})
    body = join(
        element("tr", element("th", step, scope="row"), *(_cell(curve, step, frame) for curve in curves))
        for step in (updates[i] for i in picked)
    )
    names = ("Update", *(curve.label.name for curve in curves))
    head = element("tr", *(element("th", name, scope="col") for name in names))
    return element("table", element("thead", head), element("tbody", body), class_="ae-table")


def _cell(curve: Curve, step: int, frame: Frame) -> Markup:
    return element("td", frame.words(curve.values[step]) if step in curve.values else "")
