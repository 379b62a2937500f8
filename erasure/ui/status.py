"""What a job does now: its state in a word, and its progress."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup

from erasure.jobs.job import JobState, Snapshot
from erasure.training.update_count import update_of, updates, updates_made
from erasure.ui.html import box, element, empty_html, icon, progress_bar
from erasure.ui.units import duration, speed


class Look(NamedTuple):
    """How a state is shown: as a word, a drawing and a tone, which alone carries no meaning."""

    word: str
    icon: str
    tone: str


LOOKS: dict[JobState, Look] = {
    "queued": Look("Queued", "clock", "calm"),
    "preparing": Look("Preparing", "ring", "busy"),
    "running": Look("Running", "ring", "busy"),
    "pausing": Look("Pausing", "ring", "calm"),
    "paused": Look("Paused", "pause", "calm"),
    "stopping": Look("Stopping", "ring", "calm"),
    "done": Look("Done", "check", "good"),
    "stopped": Look("Stopped", "square", "calm"),
    "failed": Look("Failed", "cross", "bad"),
    "interrupted": Look("Interrupted", "bolt", "bad"),
}


def pill(snapshot: Snapshot) -> Markup:
    """Return the state as a word and a drawing, to be put into another element. What left something is not green."""
    look = LOOKS[snapshot.state]
    if snapshot.state == "done" and snapshot.verdict is not None and snapshot.verdict.left:
        look = look._replace(icon="warning", tone="bad")
    return element("span", icon(look.icon), element("span", look.word), class_=f"ae-pill ae-tone-{look.tone}")


def status_html(snapshot: Snapshot | None) -> Markup:
    """Return the job's state, name and what it is doing; an invitation if there is no job.

    This is no live region, because it changes with every update: the page's script announces a new state.
    """
    if snapshot is None:
        return empty_html(
            "Nothing is running.", "Name a concept to erase and press Start; you can watch it happen here."
        )
    message = element("span", snapshot.message, class_="ae-message") if snapshot.message else ""
    return box("status", pill(snapshot), element("span", snapshot.name, class_="ae-name"), message)


def progress_html(snapshot: Snapshot | None) -> Markup:
    """Return a bar with updates, speed and time left; "" without a job, and for one that waits for its first turn."""
    if snapshot is None or (snapshot.state == "queued" and snapshot.step == 0):
        return Markup("")
    if snapshot.state == "preparing":
        return _preparing(snapshot)
    # A run ends as soon as the concept is gone, mostly long before the last update: then it is done, not at 2 %.
    most = max(1, snapshot.steps)
    made = most if snapshot.state == "done" else max(0, min(most, snapshot.step))
    bar = progress_bar(
        f"{100 * made / most:.2f}",
        str(made),
        str(most),
        f"{LOOKS[snapshot.state].word}, {_updates(snapshot)}",
        kind=f"ae-bar-{snapshot.state}",
        said=_spoken(snapshot),
    )
    said = _updates(snapshot)
    words = element(
        "div", element("span", said[0].upper() + said[1:]), element("span", _pace(snapshot)), class_="ae-progress-text"
    )
    return box("progress", bar, words)


def _preparing(snapshot: Snapshot) -> Markup:
    """Return a bar for the stage before the first update, which moves where it is not known how far that is."""
    stage = snapshot.stage if snapshot.stage is not None and snapshot.stage.total > 0 else None
    bar = progress_bar(
        f"{100 * stage.done / stage.total:.2f}" if stage else "0",
        str(stage.done) if stage else None,
        str(stage.total) if stage else str(max(1, snapshot.steps)),
        f"{LOOKS[snapshot.state].word}: {stage.what}" if stage else LOOKS[snapshot.state].word,
        kind="ae-bar-preparing",
        said=str(stage) if stage else None,
    )
    made = f"at most {updates(snapshot.steps - snapshot.step)} to come" if snapshot.steps else ""
    return box("progress", bar, element("div", element("span", made), class_="ae-progress-text"))


def _spoken(snapshot: Snapshot) -> str:
    left = f", about {duration(snapshot.seconds_left)} left" if snapshot.seconds_left is not None else ""
    return f"{_updates(snapshot)}{left}"


def _updates(snapshot: Snapshot) -> str:
    """Return which update this is; of a run that is done, how many it took."""
    said = updates_made if snapshot.state == "done" else update_of
    return said(snapshot.step, snapshot.steps)


def _pace(snapshot: Snapshot) -> str:
    """Return speed and time, as far as they are known in this state."""
    if snapshot.state == "queued":
        return ""
    if snapshot.state in ("running", "pausing", "stopping"):
        parts = [speed(snapshot.step, snapshot.seconds)]
        if snapshot.seconds_left is not None and snapshot.state == "running":
            parts.append(f"about {duration(snapshot.seconds_left)} left")
    else:
        parts = [f"{duration(snapshot.seconds)} of training"] if snapshot.seconds > 0 else []
    return " · ".join(part for part in parts if part)
