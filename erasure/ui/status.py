"""What a job does now: its state in a word, and how far it is."""

from __future__ import annotations

from typing import NamedTuple

from erasure.jobs.job import JobState, Snapshot
from erasure.ui.html import box, empty_html, icon, text
from erasure.ui.units import duration, speed


class Look(NamedTuple):
    """How a state is shown: by a word, a drawing and, last, a tone."""

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


def pill(state: JobState) -> str:
    """The state as word and drawing; a part, without the outermost element."""
    look = LOOKS[state]
    return f'<span class="ae-pill ae-tone-{look.tone}">{icon(look.icon)}<span>{look.word}</span></span>'


def status_html(snapshot: Snapshot | None) -> str:
    """State, name and what it is doing; an inviting sentence if there is no job.

    No live region, since it changes with every update: the page's script says when the state is another.
    """
    if snapshot is None:
        return empty_html(
            "Nothing is running.", "Name a concept to erase and press Start; you can watch it happen here."
        )
    message = f'<span class="ae-message">{text(snapshot.message)}</span>' if snapshot.message else ""
    return box(
        "status",
        pill(snapshot.state),
        f'<span class="ae-name">{text(snapshot.name)}</span>{message}',
    )


def progress_html(snapshot: Snapshot | None) -> str:
    """A bar with updates, speed and time left; "" if there is no job, or none of its updates is near."""
    if snapshot is None or (snapshot.state == "queued" and snapshot.step == 0):
        return ""
    unknown = snapshot.state == "preparing"
    share = min(1.0, max(0.0, snapshot.step / snapshot.steps)) if snapshot.steps else 0.0
    label = f"{LOOKS[snapshot.state].word}, update {snapshot.step} of {snapshot.steps}"
    values = "" if unknown else f' aria-valuenow="{snapshot.step}" aria-valuetext="{text(_spoken(snapshot))}"'
    moving = " ae-moving" if unknown else ""
    bar = (
        f'<div class="ae-bar ae-bar-{snapshot.state}{moving}" role="progressbar" aria-label="{text(label)}" '
        f'aria-valuemin="0" aria-valuemax="{max(1, snapshot.steps)}"{values}>'
        f'<div class="ae-bar-fill" style="width:{0 if unknown else 100 * share:.2f}%"></div></div>'
    )
    left = (
        f"{snapshot.steps} updates to come" if unknown else f"Update {snapshot.step} of {snapshot.steps} · {share:.0%}"
    )
    return box(
        "progress", bar, f'<div class="ae-progress-text"><span>{left}</span><span>{_pace(snapshot)}</span></div>'
    )


def _spoken(snapshot: Snapshot) -> str:
    left = f", about {duration(snapshot.seconds_left)} left" if snapshot.seconds_left is not None else ""
    return f"update {snapshot.step} of {snapshot.steps}{left}"


def _pace(snapshot: Snapshot) -> str:
    """Speed and time, as far as they are known in this state."""
    if snapshot.state in ("preparing", "queued"):
        return ""
    if snapshot.state in ("running", "pausing", "stopping"):
        parts = [speed(snapshot.step, snapshot.seconds)]
        if snapshot.seconds_left is not None and snapshot.state == "running":
            parts.append(f"about {duration(snapshot.seconds_left)} left")
    else:
        parts = [f"{duration(snapshot.seconds)} of training"] if snapshot.seconds > 0 else []
    return " · ".join(part for part in parts if part)
