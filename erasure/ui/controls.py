"""The form, drawn: gradio components for the controls of :mod:`erasure.ui.form`, and for what is not a setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from erasure.config.presets import KINDS, QUALITIES, Preset, Quality, kind_settings, presets
from erasure.families.known import supported
from erasure.ui.compat import html, leaf
from erasure.ui.form import Control, advanced, controls, show_settings
from erasure.ui.html import heading_html

_KIND_LABELS = {"object": "Object", "style": "Art style", "person": "Person", "nudity": "Unsafe content"}
_QUALITY_LABELS = {"quick": "Quick", "normal": "Normal", "thorough": "Thorough"}
# docs/measurements.md, "Against other methods" and "Erasing a style".
_QUALITY_INFO = (
    "Quick: about a sixth of the work. On the miniature model it erased 93 % of objects instead of 100 % and kept 85 % "
    "of what is like them instead of 91 %; with styles there was no such difference. Thorough: twice the updates."
)


def kind_choices(folder: Path) -> dict[str, Preset]:
    """Label -> preset: the four kinds, the other bundled ones, the user's."""
    every = presets(folder)
    first = {_KIND_LABELS[name]: every[name] for name in KINDS}
    return {**first, **{name: preset for name, preset in every.items() if name not in KINDS}}


def quality_of(label: str | None) -> Any:
    """The quality that the label stands for."""
    return next((name for name in QUALITIES if _QUALITY_LABELS[name] == label), label)


def quality_update(offered: Sequence[Quality], chosen: Quality) -> Any:
    """The qualities that there are, and the one that is chosen."""
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
            info="A preset: it sets what is under Advanced.",
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
            info=f"It must be {supported()} checkpoint. The one that is loaded is chosen already.",
            elem_id="ae_checkpoint",
            allow_custom_value=True,
        )
    )


def draw_upload() -> Any:
    """For a file of prompts. What kind of file it is, is seen from its content."""
    return leaf(gr.File(label="Upload a file, one prompt per line", height=120, elem_id="ae_upload"))


def first_values() -> dict[str, Any]:
    """What every control holds at first: the kind and the quality that are chosen then."""
    return show_settings(kind_settings(presets()[KINDS[0]], "normal"))


def draw_control(control: Control, value: Any, **options: Any) -> Any:
    """The component of one setting, holding ``value``."""
    common = {"label": control.label, "info": control.info, "elem_id": f"ae_{control.name}", **options}
    if control.kind == "check":
        return leaf(gr.Checkbox(value=value, **common))
    if control.kind == "choice":
        return leaf(gr.Dropdown(list(control.choices), value=value, **common))
    if control.kind == "number":
        return leaf(gr.Number(value=value, precision=0, **common))
    lines = 2 if control.kind == "lines" else 1
    return leaf(gr.Textbox(value=value, lines=lines, **common))


def draw_settings(names: Sequence[str], **options: Any) -> dict[str, Any]:
    """The components of these settings, by name."""
    known, held = controls(), first_values()
    return {name: draw_control(known[name], held[name], **options) for name in names}


def draw_advanced() -> dict[str, Any]:
    """The components of all settings under Advanced, by name, each group under its title and in two columns."""
    drawn: dict[str, Any] = {}
    held = first_values()
    for group, members in advanced().items():
        html(
            heading_html(group.capitalize()),
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
