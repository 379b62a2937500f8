"""The components of the form: for the controls of :mod:`erasure.ui.form`, and for what is not a setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from erasure.config.presets import KINDS, QUALITIES, Preset, Quality, kind_settings, presets
from erasure.families.known import supported
from erasure.share.order import LICENSES
from erasure.ui.compat import choices, html, leaf
from erasure.ui.components import Components
from erasure.ui.form import Control, advanced, controls, show_settings
from erasure.ui.html import heading_html
from erasure.ui.page import block
from erasure.ui.run_view import BLOCKS

_KIND_LABELS = {"object": "Object", "style": "Art style", "person": "Person", "nudity": "Unsafe content"}
_QUALITY_LABELS: dict[Quality, str] = {"quick": "Quick", "normal": "Normal", "thorough": "Thorough"}
_QUALITY_INFO = (
    "Quick does about half of the work in each update: it picks what it protects at random instead of searching. "
    "Thorough may make twice the updates. Normal and Thorough end when the concept is gone."
)


def kind_choices(folder: Path) -> dict[str, Preset]:
    """Return label -> preset: the four kinds, then the other bundled presets, then the user's own in ``folder``.

    One of the user's that is called like a kind takes no kind's place.
    """
    every = presets(folder)
    first = {_KIND_LABELS[name]: every[name] for name in KINDS}
    others = {name: preset for name, preset in every.items() if name not in KINDS}
    return {**first, **{f"{name} (yours)" if name in first else name: preset for name, preset in others.items()}}


def quality_of(label: str | None) -> Quality:
    """Return the quality that a label stands for, normal for a label of none."""
    return next((name for name in QUALITIES if _QUALITY_LABELS[name] == label), "normal")


def quality_update(offered: Sequence[Quality], chosen: Quality) -> Any:
    """Return an update of the quality control: what it offers, and what is chosen."""
    return gr.update(choices=[_QUALITY_LABELS[name] for name in offered], value=_QUALITY_LABELS[chosen])


def draw_quality() -> Any:
    return leaf(
        gr.Radio(
            [_QUALITY_LABELS[name] for name in QUALITIES],
            value=_QUALITY_LABELS["normal"],
            label="Quality",
            info=_QUALITY_INFO,
            elem_id="ae_quality",
        )
    )


def draw_kind(folder: Path) -> Any:
    labels = list(kind_choices(folder))
    return leaf(
        gr.Dropdown(
            labels,
            value=labels[0],
            label="Kind of concept",
            info="Chooses a preset, which fills in the settings under Advanced.",
            elem_id="ae_kind",
            allow_custom_value=True,
        )
    )


def draw_checkpoint(titles: Sequence[str], chosen: str | None) -> Any:
    return leaf(
        gr.Dropdown(
            list(titles),
            value=chosen,
            label="Checkpoint",
            info=f"Must be {supported()} checkpoint. The loaded one is already chosen.",
            elem_id="ae_checkpoint",
            allow_custom_value=True,
        )
    )


def draw_lora(names: Sequence[str], label: str, info: str, elem_id: str) -> Any:
    return leaf(
        gr.Dropdown(
            list(names),
            value=None,
            label=label,
            info=info,
            elem_id=elem_id,
            allow_custom_value=True,
        )
    )


def draw_license() -> Any:
    """Return the choice of a licence; none is chosen, since nobody but the maker can."""
    return leaf(
        gr.Dropdown(
            list(LICENSES),
            value=None,
            label="Licence",
            info="What the file may be used for. Usual: creativeml-openrail-m for SD 1.x, else openrail++.",
            elem_id="ae_share_license",
            allow_custom_value=True,
        )
    )


def draw_loras(names: Sequence[str], label: str, info: str, elem_id: str) -> Any:
    """Return a choice of several files of the Lora folder."""
    return choices(names, label=label, info=info, elem_id=elem_id)


def draw_weights(label: str, elem_id: str) -> Any:
    """Return the box for the weights of several files, see :func:`erasure.ui.weights.read_weights`."""
    info = "One for all, or one for each in the order chosen: 1, 0.8."
    return leaf(gr.Textbox(value="1", label=label, info=info, elem_id=elem_id))


def draw_upload() -> Any:
    """Return the upload for a list of prompts. It accepts any file: only the content shows whether it is a list."""
    return leaf(gr.File(label="Upload a text file with one prompt per line", height=120, elem_id="ae_upload"))


def first_values() -> dict[str, Any]:
    """Return what every control holds at first: the settings of the first kind at normal quality."""
    return show_settings(kind_settings(presets()[KINDS[0]], "normal"))


def draw_block(components: Components, name: str, content: str = "") -> None:
    """Draw a place for HTML, which the page's script follows if it is a block of the run view, or holds the chips."""
    value = block(name, content) if name in BLOCKS or name == "chips" else content
    label = "Block " + name.replace("-", " ")
    components.blocks[name] = html(value, label, f"ae_{name.replace('-', '_')}_block")


def draw_control(control: Control, value: Any, **options: Any) -> Any:
    """Return the component of one setting, holding ``value``."""
    common = {"label": control.label, "info": control.info, "elem_id": f"ae_{control.name}", **options}
    if control.kind == "check":
        return leaf(gr.Checkbox(value=value, **common))
    if control.kind == "choice":
        return leaf(gr.Dropdown(list(control.choices), value=value, **common))
    if control.kind == "number":
        return leaf(gr.Number(value=value, precision=0, **common))
    # All that it holds at first: a box that is drawn while it is folded away does not grow by itself.
    lines = max(2, len(str(value).splitlines())) if control.kind == "lines" else 1
    return leaf(gr.Textbox(value=value, lines=lines, **common))


def draw_settings(names: Sequence[str], **options: Any) -> dict[str, Any]:
    """Draw these settings, and return their components by name."""
    known, held = controls(), first_values()
    return {name: draw_control(known[name], held[name], **options) for name in names}


def draw_advanced() -> dict[str, Any]:
    """Draw all settings under Advanced, each group under its title in two columns. Return their components by name."""
    drawn: dict[str, Any] = {}
    held = first_values()
    for group, members in advanced().items():
        html(
            heading_html("LoRA" if group == "lora" else group.capitalize()),
            f"Group {group}",
            f"ae_group_{_id(group)}",
        )
        for i in range(0, len(members), 2):
            with gr.Row(elem_classes=["ae-pair-row"]):
                for control in members[i : i + 2]:
                    drawn[control.name] = draw_control(control, held[control.name], min_width=200)
    return drawn


def _id(group: str) -> str:
    return group.replace(" ", "_")
