"""The side of the tab that follows a run: blocks of HTML from snapshots, drawn again only if something changed."""

from __future__ import annotations

import time
from collections.abc import Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from erasure.errors import EraseError
from erasure.jobs.baking import BakeSnapshot
from erasure.jobs.combining import CombineSnapshot
from erasure.jobs.job import ACTIVE, Snapshot
from erasure.jobs.manager import JobManager
from erasure.jobs.measuring import MeasureSnapshot
from erasure.jobs.searching import SearchSnapshot
from erasure.jobs.uploading import UploadSnapshot
from erasure.run.cover import is_unsafe
from erasure.run.preview import RunPreview
from erasure.training.look_sizes import updates_before_look
from erasure.ui.bake import bake_html
from erasure.ui.cards import plan_html, result_html
from erasure.ui.chart import chart_html
from erasure.ui.combine import combine_html
from erasure.ui.html import box, button, element, join, more, notes_html, problems_html
from erasure.ui.measure import measure_html
from erasure.ui.other_base import other_base
from erasure.ui.page import Page, answer, news
from erasure.ui.picks import picks_html
from erasure.ui.picture_html import grid_html, shown_step, thumbnail_url
from erasure.ui.runs import ACTION_WORDS, runs_html
from erasure.ui.search import search_html
from erasure.ui.status import progress_html, status_html
from erasure.ui.upload import upload_html

BLOCKS = ("status", "chart", "picks", "grid", "result", "runs", "measure", "search", "combine", "bake", "publish")
_THUMBNAILS = 30  # of the newest runs


@dataclass(frozen=True)
class RunView:
    """The answer to a call, and its blocks by name; None for a block that the page has already."""

    answer: Markup
    blocks: dict[str, Markup | None]
    usable: bool  # whether the run shown has made a LoRA
    searching: bool  # whether nearby concepts are being looked for


def followed(snapshots: list[Snapshot], wanted: str) -> Snapshot | None:
    """Return the run that a page shows: the wanted one, else the one at work, else the newest."""
    chosen = [run for run in snapshots if run.id == wanted]
    active = [run for run in snapshots if run.state in ACTIVE and run.state != "queued"]
    return next(iter([*chosen, *active, *snapshots]), None)


def render(manager: JobManager, page: Page, selected: Path | None = None) -> RunView:
    """Return what the page has to show now. Cheap if nothing has changed since ``page.seen``.

    ``selected``: the file of the checkpoint that the host draws with, None if there is none.
    """
    snapshots = manager.snapshots()
    run = followed(snapshots, page.job)
    measured, search, baked = manager.measurement(), manager.search_snapshot(), manager.bake_snapshot()
    combined, upload = manager.combine_snapshot(), manager.uploading.snapshot()
    seen = _seen(snapshots, run, page, (measured, search, baked, combined, upload), selected)
    usable = run is not None and run.result is not None
    searching = search is not None and search.state == "searching"
    if seen == page.seen:
        return RunView(answer(page, "", seen=seen), dict.fromkeys(BLOCKS), usable, searching)
    step = shown_step(run, page.step) if run else None
    grid = _preview(manager, run, step) if step is not None or (run and run.drew_before) else None
    measuring = measured is not None and measured.state == "measuring"
    baking = baked is not None and baked.state == "baking"
    combining = combined is not None and combined.state == "combining"
    uploading = upload is not None and upload.state == "uploading"
    errands = measuring or searching or baking or combining or uploading
    active = errands or any(other.state in ACTIVE for other in snapshots)
    states = " ".join(f"{other.id}:{other.state}" for other in snapshots if other.result or other.state in ACTIVE)
    blocks = {
        "status": news(
            page,
            "status",
            _status(run, snapshots),
            active=str(int(active)),
            job=run.id if run else "",
            states=states,
        ),
        "chart": news(page, "chart", _chart(run)),
        "picks": news(page, "picks", _picks(run)),
        "grid": news(page, "grid", _grid(run, grid)),
        "result": news(page, "result", _result(run, selected), job=run.id if run and run.result else ""),
        "runs": news(page, "runs", _runs(manager, snapshots, run)),
        "measure": news(page, "measure", measure_html(measured), state=measured.state if measured else ""),
        "search": news(page, "search", search_html(search), state=search.state if search else ""),
        "combine": _errand(page, "combine", combine_html(combined, manager.combine_pictures()), combined),
        "bake": _errand(page, "bake", bake_html(baked), baked),
        "publish": _errand(page, "publish", upload_html(upload), upload),
    }
    return RunView(answer(page, "", seen=seen), blocks, usable, searching)


def _errand(
    page: Page, name: str, content: Markup, errand: BakeSnapshot | CombineSnapshot | UploadSnapshot | None
) -> Markup | None:
    """Return the block of an errand that makes something, as :func:`news` does."""
    made = str(errand.version) if errand and errand.state == "done" else ""
    return news(page, name, content, state=errand.state if errand else "", made=made)


def _seen(
    snapshots: list[Snapshot],
    run: Snapshot | None,
    page: Page,
    errands: Sequence[MeasureSnapshot | SearchSnapshot | BakeSnapshot | CombineSnapshot | UploadSnapshot | None],
    selected: Path | None,
) -> str:
    """Return a text that changes with all that is shown. No version comes twice, but a run of an earlier process has
    none, so the states count too."""
    newest = max((other.version for other in snapshots), default=0)
    states = hash(tuple((other.id, other.state) for other in snapshots)) & 0xFFFFFFFF
    drawn_with = hash(selected) & 0xFFFFFFFF
    others = " ".join(str(errand.version) if errand else "" for errand in errands)
    return f"{run.id if run else ''} {page.step} {newest} {states:x} {others} {drawn_with:x}"


def _status(run: Snapshot | None, snapshots: list[Snapshot]) -> Markup:
    """Return state, progress and what can be done; why the run failed; what else is running or waits."""
    parts = [status_html(run), progress_html(run)]
    if run is None:
        return join(parts)
    if run.problem:
        parts.append(problems_html([run.problem]))
    buttons = join(
        button(
            ACTION_WORDS[action][0],
            action,
            run.id,
            title=ACTION_WORDS[action][1],
            confirm=ACTION_WORDS[action][2].format(name=run.name),
            kind="quiet-button" if action == "discard" else "button",
        )
        for action in (*run.actions, *(("remedy",) if run.diverged else ()))
        if action not in ("delete", "train-on")  # the card of the result has the latter
    )
    if buttons:
        parts.append(box("actions-row", element("div", buttons, class_="ae-actions")))
    # The card of a result shows the notes itself.
    parts += [_others(run, snapshots), notes_html(() if run.result else run.notes)]
    if run.plan:
        parts.append(box("plan-box", more("What this run does", plan_html(run.plan), keep="plan")))
    return join(parts)


def _others(run: Snapshot, snapshots: list[Snapshot]) -> Markup:
    """Return a line about the run at work, if another one is shown, and one about the queue."""
    lines = []
    on = next((other for other in snapshots if other.state in ACTIVE and other.state != "queued"), None)
    if on is not None and on.id != run.id:
        lines.append(join([f"{on.name} is {on.state} now. ", button("Show it", "select", on.id, kind="quiet-button")]))
    waiting = [other.name for other in reversed(snapshots) if other.state == "queued" and other.id != run.id]
    if waiting:
        lines.append(join([f"Waiting: {', '.join(waiting)}"]))
    return box("others", *(element("p", line) for line in lines)) if lines else Markup("")


def _chart(run: Snapshot | None) -> Markup:
    """Return the chart; a run that is done may have ended before its planned end, and its chart ends there, too."""
    if run is None:
        return Markup("")
    # The config may come from a file that anyone can edit, or from a version that did not look.
    every, erase = run.config.get("look_every"), run.config.get("erase")
    first_look = 0
    if run.state in ACTIVE and isinstance(every, int) and every > 0 and isinstance(erase, Sized) and erase:
        edited = run.config.get("start") in ("closed-form", "text-encoder")
        latest = min(updates_before_look(every, len(erase), edited=False), run.steps)
        if run.step <= latest:
            first_look = min(updates_before_look(every, len(erase), edited=edited), latest)
    steps = 0 if run.state == "done" else run.steps
    return chart_html(run.series, steps, first_look, ended=run.state not in ACTIVE)


def _picks(run: Snapshot | None) -> Markup:
    """Return the picks; nothing is preserved "now" once the run has ended."""
    if run is None:
        return Markup("")
    return picks_html(run if run.state in ACTIVE else replace(run, current_pick=""))


def _grid(run: Snapshot | None, preview: RunPreview | None) -> Markup:
    shown = grid_html(run, preview)
    if preview is not None and run is not None and _unsafe(run):
        return more("Show the pictures (those from before may show unsafe content)", shown, keep=f"pictures {run.id}")
    return shown


def _unsafe(run: Snapshot) -> bool:
    return is_unsafe([*run.config.get("erase", ()), *run.config.get("synonym", ())])


def _result(run: Snapshot | None, selected: Path | None = None) -> Markup:
    if run is None or run.result is None:
        return Markup("")
    buttons = button(
        "Insert into txt2img", "insert", run.result.name, title="put it into the prompt, or take it out", pressed=False
    )
    buttons += button(ACTION_WORDS["share"][0], "share", run.id, title=ACTION_WORDS["share"][1])
    buttons += button(ACTION_WORDS["keep"][0], "keep", run.id, title=ACTION_WORDS["keep"][1])
    buttons += button("Use these settings", "settings", run.id, title="fill the form with the settings of this run")
    note = notes_html([other_base(selected, run)])
    return result_html(run) + box("actions-row", element("div", buttons, class_="ae-actions")) + note


def _runs(manager: JobManager, snapshots: list[Snapshot], run: Snapshot | None) -> Markup:
    thumbnails = {}
    for other in snapshots[:_THUMBNAILS]:
        step = shown_step(other, None)
        preview = None if step is None or _unsafe(other) else _preview(manager, other, step)
        if preview is not None:
            thumbnails[other.id] = thumbnail_url(preview)
    return runs_html(snapshots, run.id if run else "", thumbnails, now=time.time())


def _preview(manager: JobManager, run: Snapshot | None, step: int | None) -> RunPreview | None:
    if run is not None:
        with suppress(EraseError):  # deleted meanwhile
            return manager.preview(run.id, step)
    return None
