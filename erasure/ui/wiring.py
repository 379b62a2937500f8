"""Which control calls what. Every handler takes the page's message first, and what it returns goes to its outputs.

Calls that only the page's script makes are hidden buttons: ``poll`` about once a second while a job is running,
``check`` a moment after any control has changed, ``open`` when the tab comes into view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from erasure.host.always_on import rules_text
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.lora_files import lora_names
from erasure.jobs.manager import JobManager
from erasure.jobs.order import Order, Wanted, coming_names, read_order, suggested_name
from erasure.ui import actions, form_actions
from erasure.ui.calls import call
from erasure.ui.compat import listen
from erasure.ui.components import Components
from erasure.ui.controls import kind_choices, quality_of, quality_update
from erasure.ui.form import read_form, texts_of
from erasure.ui.html import notes_html, problems_html
from erasure.ui.keep_on import KEEP_OFF, kept_html
from erasure.ui.page import Page, answer, news
from erasure.ui.run_view import BLOCKS, followed, render
from erasure.ui.search import FIND, FINDING
from erasure.ui.share_part import wire_share

# Components that offer the files of the Lora folder.
LORA_LISTS = ("measure_lora", "keep_lora", "share_lora", "combine_loras", "bake_loras")


def wire(components: Components, host: Host, manager: JobManager) -> None:
    """Connect the components with their handlers. To be called inside the Blocks that they are in."""
    # What was filled in for the user: checkpoint, anchor and synonyms of the chosen kind.
    auto = gr.State({})
    space = gr.State({})
    _wire_run(components, host, manager)
    _wire_order(components, host, manager, space)
    _wire_concepts(components, host, manager, space)
    _wire_filling(components, host, manager, auto)
    _wire_measuring(components, host, manager)
    _wire_combining(components, host, manager)
    _wire_baking(components, host, manager)
    _wire_keeping(components, host, manager)
    wire_share(components, host, manager)
    for control in (*components.settings.values(), *(components.main[name] for name in ("checkpoint", "name"))):
        listen(control.change, None, js="() => { window.adversarialErase?.changed(); }")
    listen(components.main["weight"].change, None, js="() => { window.adversarialErase?.weigh(); }")


def _wire_run(components: Components, host: Host, manager: JobManager) -> None:
    main, blocks = components.main, components.blocks

    def poll(page: Page) -> list[Any]:
        live = render(manager, page, actions.selected(host))
        use = files = look = titles = None
        if live.blocks["result"] is not None:
            use = gr.update(visible=live.usable)
        if live.blocks["result"] is not None or live.blocks["combine"] is not None:  # a new LoRA may be among them
            files = gr.update(choices=lora_names(host.lora_folder()))
        if live.blocks["search"] is not None:
            # Only here, so that it is always as the block below it says.
            look = gr.update(value=FINDING if live.searching else FIND, interactive=not live.searching)
        if live.blocks["bake"] is not None:  # a new checkpoint may be among them
            titles = gr.update(choices=[checkpoint.title for checkpoint in host.checkpoints()])
        return [live.answer, *(live.blocks[name] for name in BLOCKS), use, *[files] * len(LORA_LISTS), look, titles]

    def act(page: Page) -> list[Any]:
        return [answer(page, actions.act(manager, page))]

    def try_it(page: Page, prompt: str, seed: int | None, weight: float) -> list[Any]:
        run = followed(manager.snapshots(), page.job)
        return [answer(page, actions.try_it(host, manager, run, prompt or "", seed, weight))]

    changed = [main["use"], *(main[name] for name in LORA_LISTS), main["look"], main["checkpoint"]]
    outputs = [blocks["pulse"], *(blocks[name] for name in BLOCKS), *changed]
    call(components, components.calls["poll"], "poll", poll, [], outputs)
    call(components, components.calls["act"], "act", act, [], [blocks["act-message"]])
    given = [main["try_prompt"], main["try_seed"], main["weight"]]
    call(components, main["try"], "try", try_it, given, [blocks["try"]], slow=True)


def _wire_order(components: Components, host: Host, manager: JobManager, space: Any) -> None:
    main, blocks = components.main, components.blocks
    order = [main["checkpoint"], main["name"], *components.settings.values()]

    def check(page: Page, found: dict[str, Any], *held: Any) -> list[Any]:
        asked = _order(components, host, manager, held, page.filled)
        # The page's script fills it in, because only the page knows what was typed meanwhile.
        runs = manager.snapshots()
        name = suggested_name(host, asked.settled.values["erase"], coming_names(runs))
        shown, ready = actions.check_order(host, asked)
        known = actions.known_concepts(manager, asked)
        found = found if known is None else form_actions.remember(known, asked)
        run = form_actions.judged_run(runs, asked, page.job)
        chips = news(page, "chips", form_actions.chips(found, asked, run))
        return [answer(page, shown, suggested=name), gr.update(interactive=ready), chips, found]

    def start(page: Page, *held: Any) -> list[Any]:
        said, holds = actions.start(host, manager, _order(components, host, manager, held))
        return [answer(page, said, **holds)]

    outputs = [blocks["estimate"], main["start"], blocks["chips"], space]
    call(components, components.calls["check"], "check", check, [space, *order], outputs, latest=True)
    call(components, main["start"], "start", start, order, [blocks["message"]])


def _wire_concepts(components: Components, host: Host, manager: JobManager, space: Any) -> None:
    main, blocks, settings = components.main, components.blocks, components.settings
    order = [main["checkpoint"], main["name"], *settings.values()]

    def look(page: Page, *held: Any) -> list[Any]:
        return [answer(page, actions.search(manager, _order(components, host, manager, held)))]

    def move(page: Page, found: dict[str, Any], *held: Any) -> list[Any]:
        asked = _order(components, host, manager, held)
        moved = form_actions.moved(page, asked)
        run = form_actions.judged_run(manager.snapshots(), asked, page.job)
        return [
            gr.update(value=moved["synonym"]),
            gr.update(value=moved["preserve"]),
            news(page, "chips", form_actions.chips(found, form_actions.with_moved(asked, moved), run)),
        ]

    def upload(page: Page, file: Any) -> list[Any]:
        if file is None:
            return [None, None, None]
        name, said = form_actions.keep_upload(host, file)
        chosen = [gr.update(value="file"), gr.update(value=name)] if name else [None, None]
        return [answer(page, said), *chosen]

    outputs = [blocks["upload-message"], settings["vocabulary"], settings["vocabulary_file"]]
    call(components, main["upload"], "upload", upload, [main["upload"]], outputs, trigger="upload")
    looked = call(components, main["look"], "look", look, order, [blocks["look-message"]])
    # The check shows them if they are known; else the page's script checks again when the search is over.
    listen(looked.then, None, js="() => { window.adversarialErase?.changed(); }")
    outputs = [settings["synonym"], settings["preserve"], blocks["chips"]]
    call(components, components.calls["chip"], "chip", move, [space, *order], outputs)


def _wire_filling(components: Components, host: Host, manager: JobManager, auto: Any) -> None:
    """Connect what fills in the form (opening the tab, choosing kind and quality, loading a run's settings) and the
    user's own presets."""
    main, blocks, settings = components.main, components.blocks, components.settings
    folder = DataFolder(host.data_folder()).presets

    def open_tab(page: Page, filled: dict[str, Any], chosen: str | None) -> list[Any]:
        titles = [checkpoint.title for checkpoint in host.checkpoints()]
        current = host.current_checkpoint()
        followed_current = not chosen or chosen in ("", filled.get("checkpoint", chosen)) or chosen not in titles
        value = current.title if current and followed_current else chosen
        filled = {**filled, "checkpoint": current.title if current else ""}
        kinds, files = gr.update(choices=list(kind_choices(folder))), gr.update(choices=lora_names(host.lora_folder()))
        kept = answer(page, kept_html(host), rules=rules_text(host.always_on().rules))
        return [gr.update(choices=titles, value=value), kinds, *[files] * len(LORA_LISTS), filled, kept]

    def choose(page: Page, filled: dict[str, Any], label: str, quality: str, *held: Any) -> list[Any]:
        kind = kind_choices(folder).get(label)
        if kind is None:
            return [None] * (3 + len(settings))
        chosen, offered = form_actions.at_quality(kind, quality_of(quality))
        values, filled = form_actions.with_preset(dict(zip(settings, held, strict=True)), chosen.settings, filled)
        said = answer(page, notes_html([chosen.description]))
        return [said, filled, quality_update(kind.qualities, offered), *_changes(settings, values)]

    def load(page: Page) -> list[Any]:
        changed = page.action == "remedy"
        problems, values, checkpoint = form_actions.load_run(host, manager, page.value, changed=changed)
        if values is None:
            return [answer(page, problems), None, None, *[None] * len(settings)]
        title = None if checkpoint is None else gr.update(value=checkpoint)
        return [answer(page, problems), title, gr.update(value=""), *_changes(settings, values)]

    def keep(page: Page, name: str, about: str, *held: Any) -> list[Any]:
        asked = read_form(dict(zip(settings, held, strict=True)))
        said = form_actions.keep_preset(folder, page, name or "", asked, about or "")
        return [answer(page, said), gr.update(choices=list(kind_choices(folder)))]

    every = list(settings.values())
    call(components, components.calls["open"], "open", open_tab, [auto, main["checkpoint"]],
          [main["checkpoint"], main["kind"], *(main[name] for name in LORA_LISTS), auto, blocks["keep"]])  # fmt: skip
    outputs = [blocks["kind-message"], auto, main["quality"], *every]
    for chooser in ("kind", "quality"):
        given = [auto, main["kind"], main["quality"], *every]
        call(components, main[chooser], chooser, choose, given, outputs, trigger="input")
    call(components, components.calls["load"], "load", load, [],
          [blocks["message"], main["checkpoint"], main["name"], *every])  # fmt: skip
    outputs = [blocks["preset-message"], main["kind"]]
    named = [main["preset_name"], main["preset_about"], *every]
    for button, says in ((main["preset_save"], "preset-save"), (main["preset_delete"], "preset-delete")):
        call(components, button, says, keep, named, outputs)
    call(components, components.calls["preset"], "preset", keep, named, outputs)


def _wire_measuring(components: Components, host: Host, manager: JobManager) -> None:
    main, blocks = components.main, components.blocks
    folder = DataFolder(host.data_folder()).presets

    def measure(
        page: Page, title: str | None, kind: str | None, lora: str | None, erase: str, keep: str, weight: float
    ) -> list[Any]:
        given = {"erase": texts_of(erase), "preserve": texts_of(keep)}
        chosen = kind_choices(folder).get(kind or "")
        usual = None if chosen is None else chosen.settings
        return [answer(page, actions.measure_lora(host, manager, title or None, lora or "", given, weight, usual))]

    names = ("checkpoint", "kind", "measure_lora", "measure_erase", "measure_keep", "measure_weight")
    call(components, main["measure"], "measure", measure, [main[name] for name in names], [blocks["measure-message"]])

    def received(page: Page, title: str | None, lora: str | None) -> list[Any]:
        return [answer(page, actions.check_received_lora(host, title or None, lora or ""))]

    given = [main["checkpoint"], main["measure_lora"]]
    call(components, main["received"], "received", received, given, [blocks["received"]], slow=True)


def _wire_keeping(components: Components, host: Host, manager: JobManager) -> None:
    main, blocks = components.main, components.blocks

    def keep(page: Page, title: str | None, lora: str | None, weight: float, only: bool) -> list[Any]:
        said = actions.keep_on(host, lora or "", weight, (title or "") if only else "")
        return [answer(page, said, rules=rules_text(host.always_on().rules))]

    def choose(page: Page) -> list[Any]:
        """Turn one off, or open the form with the LoRA of the run whose button was pressed."""
        if page.action == KEEP_OFF:
            said = actions.keep_off(host, page.value)
            return [None, None, answer(page, said, rules=rules_text(host.always_on().rules))]
        name = actions.lora_of_run(host, manager, page.value)
        said = "" if name else problems_html(["the LoRA of this run is no longer in the Lora folder"])
        files = gr.update(choices=lora_names(host.lora_folder()), value=name)
        return [gr.update(open=True), files, answer(page, said + kept_html(host))]

    given = [main["checkpoint"], main["keep_lora"], main["keep_weight"], main["keep_only"]]
    call(components, main["keep"], "keep", keep, given, [blocks["keep"]])
    outputs = [main["keep_part"], main["keep_lora"], blocks["keep"]]
    call(components, components.calls["keep"], "keep-run", choose, [], outputs)


def _wire_combining(components: Components, host: Host, manager: JobManager) -> None:
    main, blocks = components.main, components.blocks

    def combine(
        page: Page, loras: list[str] | None, weights: str, rank: float | None, name: str, erase: str, draw: bool,
        title: str | None,
    ) -> list[Any]:  # fmt: skip
        order = (loras or [], weights or "", rank, name or "", texts_of(erase))
        return [answer(page, actions.combine_loras(host, manager, *order, draw=bool(draw), checkpoint=title or None))]

    def refine(
        page: Page, loras: list[str] | None, weights: str, rank: float | None, name: str, erase: str,
        rows: float | None, title: str | None,
    ) -> list[Any]:  # fmt: skip
        order = (loras or [], weights or "", rank, name or "", texts_of(erase), rows)
        said, holds = actions.refine_loras(host, manager, title or None, *order)
        return [answer(page, said, **holds)]

    given = [main[f"combine_{name}"] for name in ("loras", "weights", "rank", "name", "erase")]
    drawn = [*given, main["combine_pictures"], main["checkpoint"]]
    call(components, main["combine"], "combine", combine, drawn, [blocks["combine-message"]])
    more = [*given, main["combine_rows"], main["checkpoint"]]
    call(components, main["refine"], "refine", refine, more, [blocks["combine-message"]])


def _wire_baking(components: Components, host: Host, manager: JobManager) -> None:
    main, blocks = components.main, components.blocks

    def bake(page: Page, title: str | None, loras: list[str] | None, weights: str, name: str) -> list[Any]:
        order = (title or None, loras or [], weights or "", name or "")
        return [answer(page, actions.bake_loras(host, manager, *order))]

    names = ("checkpoint", "bake_loras", "bake_weights", "bake_name")
    call(components, main["bake"], "bake", bake, [main[name] for name in names], [blocks["bake-message"]])


def _order(components: Components, host: Host, manager: JobManager, held: Sequence[Any], filled: str = "") -> Order:
    """Return the order that the controls hold. ``filled``: a LoRA name that was suggested, not written by the user."""
    checkpoint, name, *values = held
    asked = read_form(dict(zip(components.settings, values, strict=True)))
    name = (name or "").strip()
    wanted = Wanted(checkpoint or None, None if name in ("", filled) else name, settings=asked)
    return read_order(host, wanted, coming_names(manager.snapshots()))


def _changes(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[Any]:
    return [gr.update(value=values[name]) if name in values else None for name in settings]
