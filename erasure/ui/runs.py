"""The list of past and present runs, each with what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from erasure.jobs.job import ACTIVE, Snapshot
from erasure.training.update_count import update_of, updates_made
from erasure.ui.html import box, button, element, empty_html, icon, picture
from erasure.ui.status import pill
from erasure.ui.units import ago, duration

# What a button says, what it does, and the question that is asked first.
ACTION_WORDS: dict[str, tuple[str, str, str]] = {
    "pause": ("Pause", "free the device after the current update", ""),
    "resume": ("Resume", "continue where it left off", ""),
    "train-on": ("Train on", "make half as many updates again, at least 10, as another LoRA; this one stays", ""),
    "stop": ("Stop and save", "end it, and save a LoRA of what is trained so far", ""),
    "discard": ("Discard", "end it, and keep nothing", "Discard “{name}”? Nothing of this run is kept."),
    "delete": (
        "Delete",
        "remove its log, pictures and saved state",
        "Delete the run “{name}”? Its log, pictures and saved state are deleted; its LoRA file stays.",
    ),
    "remedy": ("Use settings that may help", "fill the form with its settings, changed as said above", ""),
    "share": ("Share", "make a folder of the LoRA that is ready to be passed on", ""),
    "keep": ("Keep on", "have it in every picture that is drawn here, whatever the prompt says", ""),
    "settings": ("Use these settings", "fill the form with the settings of this run", ""),
}


def runs_html(snapshots: Sequence[Snapshot], selected: str = "", pictures: Mapping[str, str] | None = None,
              now: float = 0.0) -> Markup:  # fmt: skip
    """Return the runs in the given order, newest first.

    ``pictures``: run id -> address of its last preview. ``now``: seconds since the epoch, for "5 min ago". Actions:
    ``select``, those of ``Snapshot.actions``, ``share`` where there is a LoRA, and ``settings``, with the run's id as
    value.
    """
    if not snapshots:
        return empty_html("No runs yet.", "Every run is kept here with its pictures, so nothing gets lost.")
    pictures = pictures or {}
    items = [_run(run, run.id == selected, pictures.get(run.id, ""), now) for run in snapshots]
    waiting = sum(run.state == "queued" for run in snapshots)
    queue = element("p", f"{waiting} waiting in the queue", class_="ae-quiet") if waiting else ""
    return box("runs", queue, element("ul", *items, class_="ae-list", role="list"))


def _run(run: Snapshot, selected: bool, thumbnail: str, now: float) -> Markup:
    none = element("span", icon("spark"), class_="ae-thumb ae-thumb-none")
    shown = picture(thumbnail, "", "thumb", lazy=True) or none
    name = element("span", run.name, class_="ae-run-name")
    name += element("span", _about(run, now), class_="ae-quiet ae-run-about")
    head = button(run.name, "select", run.id, title="show its chart and pictures", kind="run-open", html=shown + name,
                  pressed=selected)  # fmt: skip
    problem = element("p", run.problem, class_="ae-run-problem") if run.problem else ""
    buttons = element("div", *(_action(action, run) for action in _offered(run)), class_="ae-actions")
    side = element("div", pill(run), buttons, class_="ae-run-side")
    return element("li", head, side, problem, class_="ae-run ae-run-selected" if selected else "ae-run")


def _offered(run: Snapshot) -> tuple[str, ...]:
    return (*run.actions, *(("share",) if run.result else ()), "settings")


def _action(action: str, run: Snapshot) -> Markup:
    word, does, question = ACTION_WORDS[action]
    kind = "quiet-button" if action in ("discard", "delete", "share", "settings") else "button"
    return button(word, action, run.id, title=does, confirm=question.format(name=run.name), kind=kind)


def _about(run: Snapshot, now: float) -> str:
    """Return in one line when the run began, what it erases and how far it came."""
    erased = ", ".join(run.config.get("erase", ()))
    goes_on = run.step and run.state in ACTIVE
    done = update_of(run.step, run.steps) if goes_on else updates_made(run.step, run.steps)
    took = f"in {duration(run.seconds)}" if run.seconds > 0 else ""
    when = ago(run.created, now) if now else ""
    return " · ".join(part for part in (when, erased, f"{done} {took}".strip()) if part)
