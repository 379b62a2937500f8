"""The cards of a run: before it, what it will take and do; after it, the LoRA that it made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath, PureWindowsPath
from typing import TYPE_CHECKING

from markupsafe import Markup

from erasure.jobs.job import ACTIVE, Result, Snapshot
from erasure.training.plan import Plan
from erasure.training.update_count import updates, updates_made
from erasure.ui.html import (
    box,
    button,
    element,
    empty_html,
    facts,
    icon,
    join,
    notes_html,
    problems_html,
    quiet,
)
from erasure.ui.runs import ACTION_WORDS
from erasure.ui.units import duration, size
from erasure.ui.verdict_html import tone, verdict_parts

if TYPE_CHECKING:
    from erasure.jobs.estimate import Estimate


def estimate_html(estimate: Estimate | None, problems: Sequence[str] = ()) -> Markup:
    """Return what stands beside the start button: expected time and memory, or every reason why a run cannot start."""
    if problems:
        return problems_html(problems, "This cannot start yet:")
    if estimate is None or (estimate.seconds is None and estimate.bytes is None):
        basis = estimate.basis if estimate is not None else "The first run on this machine will show how long it takes."
        return box("estimate", icon("clock"), element("p", "Ready to start. ", quiet(basis)))
    values = []
    if estimate.seconds is not None:
        values.append(_how_long(estimate.seconds, estimate.soonest))
    if estimate.bytes is not None:
        values.append(element("strong", size(estimate.bytes)) + " of memory")
    said = [" ", quiet(f"({estimate.basis})")] if estimate.basis else []
    return box("estimate", icon("clock"), element("p", Markup(", ").join(values), *said))


def _how_long(most: float, soonest: float | None) -> Markup:
    """Return the time of a run in words. ``soonest``: see :class:`erasure.jobs.estimate.Estimate`."""
    if soonest is None:
        return join(["about ", element("strong", duration(most))])
    early = element("strong", duration(soonest))
    return join(["about ", early, " if the first looks find all gone, at most ", duration(most)])


def plan_html(plan: Plan | None) -> Markup:
    """Return the plan as names and values; "" while it is not known."""
    if plan is None:
        return Markup("")
    targets = plan.space.targets
    kept = len({candidate.text for target in targets for candidate in target.preserved})
    going = list(dict.fromkeys(candidate.text for target in targets for candidate in target.synonyms))
    along = list(dict.fromkeys(word for target in targets for word in target.drawn_as_target))
    rows = [
        ("Erases", ", ".join(f"{target.target} → {target.anchor or 'nothing'}" for target in targets)),
        ("Will go too", ", ".join(going)),
        ("Hold it back", f"{', '.join(along)}: drawn as a target, so both cannot be had" if along else ""),
        ("Protects", f"{kept} concepts of a vocabulary of {plan.space.vocabulary_size}"),
        ("Trains", f"{plan.layers} layers, rank {plan.rank}, {_count(plan.parameters)} parameters"),
        ("Work", f"at most {updates(plan.updates)} of {plan.rows_per_update:.3g} U-Net rows each"),
        ("The method decides", ", ".join(f"{name} = {value}" for name, value in plan.decided.items())),
    ]
    return box("plan", facts(rows))


def result_html(snapshot: Snapshot | None) -> Markup:
    """Return the card of the finished LoRA: its name, the verdict, what can be done with it, its size and place.

    Only a verdict that finds everything gone makes it green; what is left is a warning, with the action ``train-on``.
    """
    if snapshot is None or snapshot.result is None:
        return empty_html("The finished LoRA will be shown here.", "With its pictures before and after, ready to use.")
    result = snapshot.result
    tag = f"<lora:{result.name}:1>"
    copy = button("Copy", "copy", tag, title="to the clipboard", html=icon("copy") + element("span", "Copy"))
    rows = [
        ("File", _base_name(result.path)),
        ("Size", size(result.size)),
        ("Made for", snapshot.checkpoint),
        ("Training", f"{updates_made(snapshot.step, snapshot.steps)} in {duration(snapshot.seconds)}"),
        ("Protected most", ", ".join(name for name, _ in snapshot.picks[:5])),
    ]
    kind, drawing = tone(snapshot.verdict)
    return box(
        "result",
        element("div", icon(drawing), element("h3", result.name), class_="ae-result-head"),
        element("div", *_verdict(snapshot), class_=f"ae-verdict ae-verdict-{kind}"),
        _change(snapshot, result),
        element("div", element("code", tag), copy, class_="ae-tag"),
        facts(rows),
        notes_html(snapshot.notes),
    )


def _verdict(snapshot: Snapshot) -> list[Markup]:
    """Return what was found in a sentence, which the page reads out, then in full, and what to do about it."""
    if snapshot.verdict is None:
        return [element("p", element("strong", "Not judged."), " ", _unjudged(snapshot), class_="ae-check")]
    parts = verdict_parts(snapshot.verdict, left="Not gone yet.")
    if "train-on" in snapshot.actions:
        word, does, _ = ACTION_WORDS["train-on"]
        parts.append(element("div", button(word, "train-on", snapshot.id, title=does), class_="ae-actions"))
    return parts


def _unjudged(snapshot: Snapshot) -> str:
    if snapshot.state in ACTIVE:
        return "This LoRA is from before; the run is training on."
    if snapshot.state != "done":
        return "The run was stopped before the end, so the LoRA may erase less than it could. You can resume the run."
    return "Whether the concept is gone is for you to see from the pictures before and after."


def _change(snapshot: Snapshot, result: Result) -> Markup:
    """Return how much the file changes a picture: that it works at all, not that anything is gone."""
    if result.change is None:
        return Markup("")
    erased = snapshot.config.get("erase") or [snapshot.name]
    said = f"Read back, the file changes the picture of “{erased[0]}” by {changed_by(result.change)}."
    return element("p", said, class_="ae-quiet")


def changed_by(levels: float) -> str:
    """Return how much a picture changes, in words; ``levels``: on average, of 255."""
    some = ".1" if levels < 25.5 else ".0"
    return f"{levels / 255:{some}%} ({levels:{some}f} of 255 levels on average)"


def _base_name(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else PurePath(path).name


def _count(value: int) -> str:
    return f"{value / 1e6:.3g} million" if value >= 1e6 else f"{value:,}"
