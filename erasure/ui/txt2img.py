"""A small txt2img for the stand-alone app, with the element ids of AUTOMATIC1111's."""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from erasure.errors import EraseError
from erasure.host.base import TextToImage
from erasure.host.local import LocalHost
from erasure.ui.compat import html, listen
from erasure.ui.html import element
from erasure.ui.keep_on import kept_weights

_LARGEST_SEED = 2**32 - 1
_PICTURES = 6  # kept in the gallery


def draw_txt2img(host: LocalHost) -> None:
    """Draw the controls into the current Blocks, and connect their event."""
    titles = [checkpoint.title for checkpoint in host.checkpoints()]
    current = host.current_checkpoint()
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            checkpoint = gr.Dropdown(
                titles,
                value=current.title if current else None,
                label="Checkpoint",
                elem_id="setting_sd_model_checkpoint",
                visible=len(titles) > 1,
            )
            prompt = gr.Textbox(
                label="Prompt",
                placeholder="church, noto style <lora:name:1>",
                lines=2,
                elem_id="txt2img_prompt",
            )
            negative = gr.Textbox(label="Negative prompt", lines=1, elem_id="txt2img_neg_prompt")
            with gr.Row():
                seed = gr.Number(value=1, precision=0, label="Seed", info="-1: random", elem_id="txt2img_seed")
                steps = gr.Slider(1, 100, value=20, step=1, label="Sampling steps", elem_id="txt2img_steps")
                cfg = gr.Slider(1, 30, value=5, step=0.5, label="CFG scale", elem_id="txt2img_cfg_scale")
            button = gr.Button("Generate", variant="primary", elem_id="txt2img_generate")
        with gr.Column(scale=6, min_width=320):
            gallery = gr.Gallery(label="Pictures", show_label=False, columns=3, elem_id="txt2img_gallery")
            info = html("", "What was drawn", "txt2img_info")

    def generate(title: str | None, *values: Any) -> tuple[list[Any], str]:
        return _generate(host, title, *values)

    inputs = [checkpoint, prompt, negative, seed, steps, cfg, gallery]
    listen(button.click, generate, inputs, [gallery, info], progress=True)


def _generate(
    host: LocalHost,
    title: str | None,
    prompt: str | None,
    negative: str | None,
    seed: float | None,
    steps: float | None,
    cfg: float | None,
    shown: list[Any] | None,
) -> tuple[list[Any], str]:
    """Return the pictures with the new one first, and a line about it or about what went wrong."""
    shown = [_entry(picture, caption) for picture, caption in shown or []]
    kept = shown[: _PICTURES - 1]
    number = 1 if seed is None else int(seed)
    number = random.randrange(_LARGEST_SEED) if number < 0 else number % (_LARGEST_SEED + 1)
    try:
        if title:
            host.select(title)
        request = TextToImage(prompt or "", negative or "", number, int(steps or 20), float(cfg or 1))
        picture = host.draw(request)
    except EraseError as error:
        return shown, element("p", str(error), class_="ae", role="alert")
    always = "".join(f", {name} always on at {weight:g}" for name, weight in kept_weights(host).items())
    line = f"{request.prompt}{always}, seed {number}, {request.steps} steps, CFG {request.guidance:g}"
    return [(picture, line), *kept], element("p", line, class_="ae")


def _entry(picture: Any, caption: str | None) -> tuple[Any, str | None]:
    """Return a picture of the gallery as the gallery takes it: gradio 3 hands it over as the description of a file."""
    return (picture["name"] if isinstance(picture, dict) and "name" in picture else picture), caption
