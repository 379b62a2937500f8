"""The part of the tab that shares a LoRA, and uploads it: its controls, and what they call."""

from __future__ import annotations

from typing import Any

import gradio as gr

from erasure.host.base import Host
from erasure.host.uploads import OFF
from erasure.jobs.lora_files import lora_names
from erasure.jobs.manager import JobManager
from erasure.jobs.uploading import UploadRequest
from erasure.ui import actions, share_actions
from erasure.ui.calls import call
from erasure.ui.compat import leaf
from erasure.ui.components import Components
from erasure.ui.controls import draw_block, draw_license, draw_lora
from erasure.ui.form import texts_of
from erasure.ui.html import notes_html, problems_html
from erasure.ui.page import Page, answer


def draw_share(components: Components, host: Host) -> None:
    """Draw the form, and what came of it; what uploads only where the host lets it."""
    main = components.main
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["share_lora"] = draw_lora(
            lora_names(host.lora_folder()), "LoRA to share", "A file of the Lora folder.", "ae_share_lora"
        )
        main["share_license"] = draw_license()
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["share_base"] = leaf(
            gr.Textbox(
                label="Base model on the Hugging Face Hub",
                placeholder="OWNER/NAME",
                info="Optional; the files of SD 1.4, 1.5, 2.0, 2.1 and SDXL 1.0 are known by their hash.",
                elem_id="ae_share_base",
            )
        )
        main["share_author"] = leaf(
            gr.Textbox(label="Author", info="Optional; nobody is named if empty.", elem_id="ae_share_author")
        )
    main["share_erase"] = leaf(
        gr.Textbox(
            label="What the LoRA erases",
            info="Leave empty if it was made here: then the file says it.",
            elem_id="ae_share_erase",
        )
    )
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["share_unsafe"] = leaf(
            gr.Checkbox(value=False, label="Show pictures of unsafe content", elem_id="ae_share_unsafe")
        )
        main["share_overwrite"] = leaf(
            gr.Checkbox(value=False, label="Replace what was shared before", elem_id="ae_share_overwrite")
        )
    if host.uploads():
        _upload(components)
    else:
        main["share"] = leaf(gr.Button("Make the folder", elem_id="ae_share"))
    draw_block(components, "share")
    draw_block(components, "offer", "" if host.uploads() else notes_html([OFF]))
    draw_block(components, "publish")


def _upload(components: Components) -> None:
    main = components.main
    with gr.Row(elem_classes=["ae-pair-row"]):
        main["share_repo"] = leaf(
            gr.Textbox(
                label="Repository to upload to",
                placeholder="OWNER/NAME",
                info="Optional. On the Hugging Face Hub, with this machine's login; it is made if it is not there.",
                elem_id="ae_share_repo",
            )
        )
        main["share_public"] = leaf(
            gr.Checkbox(value=False, label="Let everybody see it (public)", elem_id="ae_share_public")
        )
    with gr.Row(elem_classes=["ae-pair-row"]):
        with gr.Column(min_width=160):
            main["share"] = leaf(gr.Button("Make the folder", elem_id="ae_share"))
        with gr.Column(min_width=160):
            main["share_offer"] = leaf(gr.Button("Upload the folder ...", elem_id="ae_share_offer"))


def wire_share(components: Components, host: Host, manager: JobManager) -> None:
    """Connect the components with their handlers."""
    main, blocks = components.main, components.blocks

    def choose(page: Page) -> list[Any]:
        """Open the form with the LoRA of the run whose button was pressed; what was shown of another goes away."""
        name = actions.lora_of_run(host, manager, page.value)
        said = "" if name else problems_html(["the LoRA of this run is no longer in the Lora folder"])
        files = gr.update(choices=lora_names(host.lora_folder()), value=name)
        return [gr.update(open=True), files, answer(page, said)]

    def share(
        page: Page, lora: str | None, license: str | None, base: str, author: str, erase: str, unsafe: bool,
        again: bool, repo: str = "",
    ) -> list[Any]:  # fmt: skip
        made = share_actions.share(
            host,
            manager,
            lora or "",
            license or "",
            overwrite=bool(again),
            base_model=(base or "").strip(),
            author=author or "",
            erase=texts_of(erase),
            unsafe_pictures=bool(unsafe),
            repo=(repo or "").strip(),
        )
        return [answer(page, made)]

    outputs = [main["share_part"], main["share_lora"], blocks["share"]]
    call(components, components.calls["share"], "share-run", choose, [], outputs)
    names: tuple[str, ...] = ("lora", "license", "base", "author", "erase", "unsafe", "overwrite")
    if host.uploads():
        names = (*names, "repo")
        _wire_upload(components, manager)
    given = [main[f"share_{name}"] for name in names]
    call(components, main["share"], "share", share, given, [blocks["share"]], slow=True)


def _wire_upload(components: Components, manager: JobManager) -> None:
    main, blocks = components.main, components.blocks

    def offer(page: Page, lora: str | None, repo: str, public: bool, again: bool) -> list[Any]:
        asked = UploadRequest(lora or "", (repo or "").strip(), bool(public), bool(again))
        return [answer(page, share_actions.offer(manager, asked))]

    def publish(page: Page) -> list[Any]:
        return [answer(page, share_actions.publish(manager, page))]

    given = [main[f"share_{name}"] for name in ("lora", "repo", "public", "overwrite")]
    call(components, main["share_offer"], "offer", offer, given, [blocks["offer"]], slow=True)
    call(components, components.calls["publish"], "publish", publish, [], [blocks["offer"]])
