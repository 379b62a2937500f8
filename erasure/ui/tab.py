"""The layout of the tab, the same in every host."""

from __future__ import annotations

import gradio as gr

from erasure.combine.rows import ROWS
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.lora_files import lora_names
from erasure.jobs.manager import JobManager
from erasure.ui.bake import bake_html
from erasure.ui.chips import chips_html
from erasure.ui.combine import combine_html
from erasure.ui.compat import html, leaf
from erasure.ui.components import Components
from erasure.ui.controls import (
    draw_advanced,
    draw_block,
    draw_checkpoint,
    draw_kind,
    draw_lora,
    draw_loras,
    draw_quality,
    draw_settings,
    draw_upload,
    draw_weights,
)
from erasure.ui.form import MAIN, PROTECT, controls
from erasure.ui.html import heading_html
from erasure.ui.keep_on import kept_html
from erasure.ui.measure import measure_html
from erasure.ui.search import FIND
from erasure.ui.share_part import draw_share
from erasure.ui.wiring import wire

_HIDDEN = "ae-hidden"
# Buttons that only the page's script presses.
CALLS = ("open", "check", "poll", "act", "chip", "load", "preset", "share", "keep", "publish")


def build_tab(host: Host, manager: JobManager) -> gr.Blocks:
    """Return the tab as Blocks of its own; inside other Blocks it becomes a part of them."""
    tab = gr.Blocks(analytics_enabled=False)
    with tab:
        components = Components()
        with gr.Column(elem_id="ae_tab"):
            with gr.Row(elem_id="ae_columns"):
                with gr.Column(scale=5, min_width=320, elem_id="ae_form"):
                    _form(components, host)
                with gr.Column(scale=6, min_width=320, elem_id="ae_run"):
                    _run(components)
            with gr.Accordion("Runs", open=True, elem_id="ae_runs"):
                draw_block(components, "runs")
            with gr.Accordion("Check a LoRA", open=False, elem_id="ae_measure_part"):
                _measure(components, host)
            with gr.Accordion("Keep on", open=False, elem_id="ae_keep_part") as keep:
                components.main["keep_part"] = keep
                _keep(components, host)
            with gr.Accordion("Share a LoRA", open=False, elem_id="ae_share_part") as share:
                components.main["share_part"] = share
                draw_share(components, host)
            with gr.Accordion("Combine LoRAs", open=False, elem_id="ae_combine_part"):
                _combine(components, host)
            with gr.Accordion("Bake into a checkpoint", open=False, elem_id="ae_bake_part"):
                _bake(components, host)
            _calls(components)
        wire(components, host, manager)
    return tab


def _form(components: Components, host: Host) -> None:
    main = components.main
    current = host.current_checkpoint()
    titles = [checkpoint.title for checkpoint in host.checkpoints()]
    components.settings.update(draw_settings(MAIN))
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["kind"] = draw_kind(DataFolder(host.data_folder()).presets)
        main["quality"] = draw_quality()
    draw_block(components, "kind-message")
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["checkpoint"] = draw_checkpoint(titles, current.title if current else None)
        main["name"] = leaf(
            gr.Textbox(label="Name of the LoRA", info="Follows the concept until you change it.", elem_id="ae_name")
        )
    with gr.Row(elem_id="ae_start_row"):
        main["start"] = leaf(
            gr.Button("Start", variant="primary", elem_id="ae_start", interactive=False, min_width=120)
        )
        draw_block(components, "estimate")
    draw_block(components, "message")
    with gr.Accordion("Concepts to protect", open=False, elem_id="ae_protect"):
        _protect(components)
    with gr.Accordion("Advanced", open=False, elem_id="ae_advanced"):
        components.settings.update(draw_advanced())
        _presets(components)
    components.settings = {name: components.settings[name] for name in controls()}


def _protect(components: Components) -> None:
    with gr.Row(elem_classes=["ae-pair-row"]):
        components.settings.update(draw_settings(PROTECT[:2]))
    components.main["upload"] = draw_upload()
    draw_block(components, "upload-message")
    components.main["look"] = leaf(gr.Button(FIND, elem_id="ae_look"))
    draw_block(components, "look-message")
    draw_block(components, "search")
    draw_block(components, "chips", chips_html(None))
    with gr.Row(elem_classes=["ae-pair-row"]):
        components.settings.update(draw_settings(PROTECT[2:]))


def _presets(components: Components) -> None:
    html(heading_html("Your presets"), "Group presets", "ae_group_presets")
    with gr.Row(elem_classes=["ae-pair-row"]):
        components.main["preset_name"] = leaf(
            gr.Textbox(
                label="Name of the preset",
                info="Saves all settings except the concepts. You find it under Kind of concept.",
                elem_id="ae_preset_name",
            )
        )
        components.main["preset_about"] = leaf(
            gr.Textbox(
                label="What it is for", info="Optional. Shown when the preset is chosen.", elem_id="ae_preset_about"
            )
        )
    with gr.Row(elem_classes=["ae-pair-row"]):
        with gr.Column(min_width=160):
            components.main["preset_save"] = leaf(gr.Button("Save preset", elem_id="ae_preset_save"))
        with gr.Column(min_width=160):
            components.main["preset_delete"] = leaf(gr.Button("Delete preset", elem_id="ae_preset_delete"))
    draw_block(components, "preset-message")


def _run(components: Components) -> None:
    draw_block(components, "status")
    draw_block(components, "act-message")
    # Empty while a job is running; its result then appears where the user is already looking.
    draw_block(components, "result")
    draw_block(components, "grid")
    _use(components)
    draw_block(components, "chart")
    draw_block(components, "picks")


def _use(components: Components) -> None:
    """Draw what can be done with a LoRA, shown once there is one."""
    with gr.Column(visible=False, elem_id="ae_use") as use:
        components.main["use"] = use
        main = components.main
        main["weight"] = leaf(
            gr.Slider(0.0, 2.0, value=1.0, step=0.05, label="Weight of the LoRA", elem_id="ae_weight",
                      info="1 erases as trained; a lower weight erases less.")
        )  # fmt: skip
        with gr.Row(elem_classes=["ae-pair-row"]):
            main["try_prompt"] = leaf(
                gr.Textbox(label="Prompt to try", placeholder="empty: the erased concept", elem_id="ae_try_prompt")
            )
            main["try_seed"] = leaf(
                gr.Number(value=1, precision=0, label="Seed to try (-1: random)", elem_id="ae_try_seed")
            )
        main["try"] = leaf(gr.Button("Try it: one seed, without and with the LoRA", elem_id="ae_try"))
        draw_block(components, "try")


def _measure(components: Components, host: Host) -> None:
    main = components.main
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["measure_lora"] = draw_lora(
            lora_names(host.lora_folder()),
            "LoRA to check",
            "A file of the Lora folder. It is checked and measured on the checkpoint chosen above. "
            "Without one, Check says what is baked into that checkpoint.",
            "ae_measure_lora",
        )
        main["measure_weight"] = leaf(
            gr.Slider(0.0, 2.0, value=1.0, step=0.05, label="Weight to measure it at", elem_id="ae_measure_weight")
        )
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["measure_erase"] = leaf(
            gr.Textbox(
                label="What it should erase",
                info="Leave empty if it was made here: then the file says it.",
                elem_id="ae_measure_erase",
            )
        )
        main["measure_keep"] = leaf(
            gr.Textbox(
                label="What it should keep",
                info="Optional. Judged beside the nearest words.",
                elem_id="ae_measure_keep",
            )
        )
    with gr.Row(elem_classes=["ae-pair-row"]):
        with gr.Column(min_width=160):
            main["received"] = leaf(gr.Button("Check: hashes and base", elem_id="ae_received"))
        with gr.Column(min_width=160):
            main["measure"] = leaf(gr.Button("Measure", elem_id="ae_measure"))
    draw_block(components, "received")
    draw_block(components, "measure-message")
    draw_block(components, "measure", measure_html(None))


def _combine(components: Components, host: Host) -> None:
    main = components.main
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["combine_loras"] = draw_loras(
            lora_names(host.lora_folder()),
            "LoRAs to combine",
            "Files of the Lora folder, made from one base.",
            "ae_combine_loras",
        )
        main["combine_weights"] = draw_weights("Weights", "ae_combine_weights")
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["combine_rank"] = leaf(
            gr.Number(value=0, precision=0, label="Rank (0: the exact sum)", elem_id="ae_combine_rank")
        )
        main["combine_name"] = leaf(
            gr.Textbox(
                label="Name of the combined LoRA",
                info="Optional. A name that is taken is refused.",
                elem_id="ae_combine_name",
            )
        )
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["combine_erase"] = leaf(
            gr.Textbox(
                label="What they erase besides",
                info="Only for files that were not made here: they do not say it.",
                elem_id="ae_combine_erase",
            )
        )
        main["combine_rows"] = leaf(
            gr.Number(
                value=ROWS,
                precision=0,
                label="U-Net rows to refine with",
                info="More take longer.",
                elem_id="ae_combine_rows",
            )
        )
    main["combine_pictures"] = leaf(
        gr.Checkbox(value=False, label="Draw pictures with the checkpoint chosen above", elem_id="ae_combine_pictures")
    )
    with gr.Row(elem_classes=["ae-pair-row"]):
        with gr.Column(min_width=160):
            main["combine"] = leaf(gr.Button("Combine", elem_id="ae_combine"))
        with gr.Column(min_width=160):
            main["refine"] = leaf(gr.Button("Combine and refine", elem_id="ae_refine"))
    draw_block(components, "combine-message")
    draw_block(components, "combine", combine_html(None))


def _bake(components: Components, host: Host) -> None:
    main = components.main
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["bake_loras"] = draw_loras(
            lora_names(host.lora_folder()),
            "LoRAs to bake",
            "Files of the Lora folder. They go into a copy of the checkpoint chosen above.",
            "ae_bake_loras",
        )
        main["bake_weights"] = draw_weights("Weights to bake with", "ae_bake_weights")
    main["bake_name"] = leaf(
        gr.Textbox(
            label="Name of the new checkpoint",
            info="Without an ending. A name that is taken is refused.",
            elem_id="ae_bake_name",
        )
    )
    main["bake"] = leaf(gr.Button("Bake", elem_id="ae_bake"))
    draw_block(components, "bake-message")
    draw_block(components, "bake", bake_html(None))


def _keep(components: Components, host: Host) -> None:
    main = components.main
    fixed = bool(host.always_on().fixed)
    with gr.Row(elem_classes=["ae-pair-row"], visible=not fixed):
        main["keep_lora"] = draw_lora(
            lora_names(host.lora_folder()),
            "LoRA to keep on",
            "A file of the Lora folder. It is in every picture drawn here, whatever its prompt says.",
            "ae_keep_lora",
        )
        main["keep_weight"] = leaf(
            gr.Slider(0.05, 2.0, value=1.0, step=0.05, label="Weight to keep it at", elem_id="ae_keep_weight")
        )
    main["keep_only"] = leaf(
        gr.Checkbox(
            value=False, label="Only for the checkpoint chosen above", elem_id="ae_keep_only", visible=not fixed
        )
    )
    main["keep"] = leaf(gr.Button("Keep on", elem_id="ae_keep", visible=not fixed))
    draw_block(components, "keep", kept_html(host))


def _calls(components: Components) -> None:
    with gr.Row(elem_classes=[_HIDDEN], elem_id="ae_calls"):
        components.message = leaf(gr.Textbox(label="Message of the page", elem_id="ae_call_message"))
        for name in CALLS:
            components.calls[name] = leaf(gr.Button(f"Call {name}", elem_id=f"ae_call_{name}"))
        draw_block(components, "pulse")
