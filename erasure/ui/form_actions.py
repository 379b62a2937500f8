"""What fills in the form, without gradio: chips that are moved, presets, and the settings of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erasure.concepts.vocabulary import read_words
from erasure.config.concept_texts import join_texts, read_texts
from erasure.config.presets import Preset, Quality, delete_preset, kind_settings, preset, save_preset
from erasure.config.settings import space_settings
from erasure.errors import OutputExists, RunError
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.job import Snapshot
from erasure.jobs.manager import JobManager
from erasure.jobs.order import Order
from erasure.jobs.vocabularies import MOST_BYTES, keep_vocabulary
from erasure.ui.actions import problem_lines
from erasure.ui.chips import chips_html
from erasure.ui.form import show_settings
from erasure.ui.html import box, button, notes_html, problems_html
from erasure.ui.page import Page

# A preset holds neither what is erased nor what is protected.
_OWN = ("erase", "preserve")
# By the action of a chip, the list that its concept is put on; it is taken off the other one.
_LISTS = {"chip-erase": "synonym", "chip-protect": "preserve", "chip-auto": ""}


def chips(found: Mapping[str, Any], order: Order, run: Snapshot | None = None) -> str:
    """Return the chips. ``found``: as :func:`remember` gives it, {} before anything was measured.

    ``run``: one that :func:`judged_run` gives; what became of the words is said, and if nothing was measured since, its
    concepts are shown.
    """
    used = order.settled.values
    space, stale = found.get("space"), bool(found) and found["of"] != _decides(order)
    if space is None and run is not None and run.plan is not None:
        space, stale = run.plan.space.to_dict(), any(run.config.get(k) != v for k, v in _space_values(order).items())
    return chips_html(
        space,
        used["synonym"],
        used["preserve"],
        erase_synonyms=used["erase_synonyms"],
        stale=stale,
        verdict=None if run is None else run.verdict,
    )


def judged_run(runs: Sequence[Snapshot], order: Order, wanted: str) -> Snapshot | None:
    """Return a run with a verdict on the order's own targets and checkpoint: the ``wanted`` one, else the first."""
    file, erased = order.checkpoint, list(order.settled.values["erase"])
    judged = [run for run in runs if run.verdict is not None and run.config.get("erase") == erased]
    fit = [run for run in judged if file is not None and run.began_with(file)]
    return next(iter([*(run for run in fit if run.id == wanted), *fit]), None)


def remember(space: Mapping[str, Any], order: Order) -> dict[str, Any]:
    """Return a measured concept space together with what it was measured for."""
    return {"space": dict(space), "of": _decides(order)}


def moved(page: Page, order: Order) -> dict[str, str]:
    """Return what the boxes of synonyms and of protected concepts hold after a click on a chip."""
    lists = {name: list(order.settled.values[name]) for name in ("synonym", "preserve")}
    if page.action in _LISTS and page.value:
        for name, texts in lists.items():
            if name == _LISTS[page.action] and page.value not in texts:
                texts.append(page.value)
            if name != _LISTS[page.action] and page.value in texts:
                texts.remove(page.value)
    return {name: join_texts(texts) for name, texts in lists.items()}


def with_moved(order: Order, boxes: Mapping[str, str]) -> Order:
    """Return the order with the contents of these boxes, as :func:`moved` gives them."""
    lists = {name: tuple(read_texts(box)) for name, box in boxes.items()}
    return replace(order, settled=replace(order.settled, values={**order.settled.values, **lists}))


def at_quality(kind: Preset, quality: Quality) -> tuple[Preset, Quality]:
    """Return the preset that a kind means at a quality, and the quality: normal if the kind does not have that one."""
    if quality not in kind.qualities:
        quality = "normal"
    about = preset(kind.quick).description if quality == "quick" else kind.description
    return replace(kind, description=about, settings=kind_settings(kind, quality)), quality


def with_preset(
    held: Mapping[str, Any], chosen: Mapping[str, Any], filled: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what every control holds once a preset is chosen, and what the preset filled in.

    Concepts stay as the user wrote them. An anchor or synonyms from the preset before are replaced by this one's,
    unless both have the same, which the user has changed since: of one kind at another quality.
    """
    shown = show_settings(chosen)
    for name in _OWN:
        if name not in chosen:
            shown[name] = held[name]
    given = {name: shown[name] if name in chosen else None for name in ("anchor", "synonym")}
    for name, own in given.items():
        if own in (None, filled.get(name)) and held[name] != filled.get(name):
            shown[name] = held[name]
    return shown, {**filled, **given}


def load_run(
    host: Host, manager: JobManager, id: str, *, changed: bool = False
) -> tuple[str, dict[str, Any] | None, str | None]:
    """Return the outcome as HTML, what every control holds for a run's settings, and its checkpoint's title.

    ``changed``: with what may help a run whose training diverged. The values are None if there is no such run, the
    title if its checkpoint is gone, or cannot be told from others.
    """
    found: list[Snapshot] = []
    change: dict[str, Any] = {}

    def work() -> None:
        found.append(manager.snapshot(id))
        change.update(manager.remedy(id) if changed else {})

    problems = problem_lines(work)
    if problems:
        return problems_html(problems), None, None
    run = found[0]
    same = [checkpoint.title for checkpoint in host.checkpoints() if run.began_with(checkpoint.path)]
    said = [f"The form now holds the settings of {run.name}."]
    if change:
        listed = ", ".join(f"{name} {value}" for name, value in change.items())
        said = [f"The form now holds the settings of {run.name}, with {listed}. Press Start to begin anew."]
    if not same:
        said.append(f"Its checkpoint, {run.checkpoint}, is no longer there; choose another.")
    if len(same) > 1:
        said.append(f"Its checkpoint is no longer in its place, and several are called {run.checkpoint}; choose one.")
    return notes_html(said), show_settings({**run.asked, **change}), same[0] if len(same) == 1 else None


def keep_preset(folder: Path, page: Page, name: str, asked: Mapping[str, Any], about: str = "") -> str:
    """Save what the form asks for as a preset of the user, or delete one. Return the outcome as HTML."""
    name = name.strip()
    if page.action == "preset-delete":
        problems = problem_lines(lambda: delete_preset(folder, name))
        return problems_html(problems) if problems else notes_html([f"The preset {name} is deleted."])
    if page.action not in ("preset-save", "preset-overwrite"):
        return ""
    kept = {name: value for name, value in asked.items() if name not in _OWN}
    again: list[str] = []

    def save() -> None:
        try:
            save_preset(folder, name, about.strip(), kept, overwrite=page.action == "preset-overwrite")
        except OutputExists:
            again.append(button("Overwrite it", "preset-overwrite", name))
            raise

    problems = problem_lines(save)
    if problems:
        return problems_html(problems) + (box("actions-row", *again) if again else "")
    return notes_html([f"The preset {name} is saved. It is listed under Kind of concept."])


def keep_upload(host: Host, upload: Any) -> tuple[str, str]:
    """Keep an uploaded list of prompts. Return the name of the file, "" if it is refused, and the outcome as HTML."""
    kept: list[Path] = []

    def keep() -> None:
        # gradio 3 gives an object, later versions a path. The file is copied, for gradio deletes it sooner or later.
        path = Path(getattr(upload, "name", None) or str(upload))
        name = Path(getattr(upload, "orig_name", None) or path.name).name
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise RunError(f"{name} could not be read: {error.strerror or error}; upload it again") from error
        kept.append(keep_vocabulary(DataFolder(host.data_folder()).vocabularies, name, content))

    problems = problem_lines(keep)
    if problems:
        return "", problems_html(problems, "The file cannot be used")
    count = len(read_words(kept[0]))
    return kept[0].name, notes_html([f"{kept[0].name} is uploaded, with {count:,} prompts, and chosen."])


def _decides(order: Order) -> str:
    """Return all that decides which concepts are near, as a text, without the lists that chips are moved between."""
    return json.dumps([str(order.checkpoint), _space_values(order)])


def _space_values(order: Order) -> dict[str, Any]:
    values = space_settings(order.settled.values)
    return {name: value for name, value in values.items() if name not in ("synonym", "preserve")}
