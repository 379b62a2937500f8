"""The chart of a run: what is still recognised and what is kept, as looks found; the losses under a fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from erasure.jobs.history import KEPT, RECOGNISED
from erasure.ui.curves import Curve, Label, Point, figure_html, log_frame, share_frame
from erasure.ui.html import box, element, empty_html, join, more

LABELS = {
    "erase": Label("erase", "Erasing", "should fall"),
    "preserve": Label("keep", "Preserving", "should stay low"),
}
# How the targets' curves are drawn, one after the other; more targets than that begin again.
TARGET_KINDS = ("erase", "second", "third", "fourth")
WHY_NOT_DOWN = (
    "Every update is measured on another prompt, another noise and another moment of drawing, some harder than others, "
    "and pulled back by what it preserves, so erasing does not simply fall: only its trend counts."
)


def chart_html(
    series: Mapping[str, Sequence[Point]], steps: int = 0, first_look: int = 0, *, ended: bool = False
) -> Markup:
    """Return the chart of all series, or what stands in its place before there is enough to draw.

    ``series``: as in a snapshot, points (update, value) by name; one that has no label here is drawn with the losses,
    under its own name. ``steps``: where the axis ends, 0 for the last point. ``first_look``: after about so many
    updates a run that is at work will look for the first time; 0 if it will not. ``ended``: no more points will come.
    """
    shares = _shares(series)
    losses = [
        Curve.of(LABELS.get(name) or Label("other", name, ""), points)
        for name, points in series.items()
        if not _is_share(name)
    ]
    losses = [curve for curve in losses if curve.values]
    drawable = any(len(curve.positive) > 1 for curve in losses)
    known = {label.name for label in LABELS.values()}
    what = "Loss" if all(curve.label.name in known for curve in losses) else "Measured"
    drawn = figure_html(losses, log_frame(losses, steps), what, "(log scale)", keep="losses") if drawable else None
    if not shares and not first_look:
        if drawn or ended:
            return box("chart", drawn) if drawn else Markup("")
        return empty_html("The losses will be drawn here.", "They appear with the first updates.")
    when = f"The first look comes after about {first_look} updates."
    if shares:
        seen = figure_html(
            shares, share_frame(shares, steps), "What looks found", "(in samples during training)", keep="looks"
        )
        if first_look and not any(max(curve.values) for curve in shares):
            seen += element("p", when, class_="ae-quiet")
    else:
        seen = empty_html("What is still recognised and what is kept will be drawn here.", when)
    why = element("p", WHY_NOT_DOWN, class_="ae-quiet")
    fold = more("Training losses", why + drawn, keep="training-losses") if drawn else ""
    return box("chart", join([seen, fold]))


def _is_share(name: str) -> bool:
    return name == KEPT or name.startswith(RECOGNISED)


def _shares(series: Mapping[str, Sequence[Point]]) -> list[Curve]:
    """Return a curve for each target, then that of what is kept."""
    targets = [name for name in series if name.startswith(RECOGNISED)]
    curves = []
    for place, name in enumerate(targets):
        kind = TARGET_KINDS[place % len(TARGET_KINDS)]
        label = Label(kind, f"{name.removeprefix(RECOGNISED)} recognised", "in how many pictures; should fall to 0%")
        curves.append(Curve.of(label, series[name]))
    curves.append(Curve.of(Label("keep", "Nearest words kept", "how strongly; should stay high"), series.get(KEPT, ())))
    return [curve for curve in curves if curve.values]
