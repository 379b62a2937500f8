"""The form without gradio: one control for every setting of a config, and the conversion between their values.

A control follows from the setting's description in :mod:`erasure.config.settings` alone, so a new setting needs nothing
here. Floating-point numbers are written in text boxes, because gradio 3.41 rounds a number box to its step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from erasure.config.concept_texts import LISTS
from erasure.config.setting import GROUPS, Setting
from erasure.config.settings import settings

Kind = Literal["texts", "lines", "text", "number", "decimal", "choice", "check"]

# Settings with a place of their own; all others are under Advanced.
MAIN = ("erase", "anchor")
PROTECT = ("vocabulary", "vocabulary_file", "synonym", "preserve")
_LABELS = {
    "erase": "Concepts to erase",
    "anchor": "Turn them into",
    "synonym": "Erase these names as well",
    "preserve": "Always protect these",
    "robust": "Hold against attacks",
    "vocabulary": "Where concepts to protect come from",
    "vocabulary_file": "File with one prompt per line",
}
_INFOS = {
    "erase": "What the model should no longer draw. Separate several with commas or line breaks; one in "
    "quotation marks keeps its commas.",
    "anchor": "Leave empty for nothing in particular. Or give one for all, or one for each in the same order.",
    "synonym": "Words that mean the same. They are erased too and never protected.",
    "preserve": "Protected in any case, whatever the search for concepts to protect finds.",
    "vocabulary": "Common English words, styles and artists, the tokenizer's own words (tokens), or a file of yours.",
    "vocabulary_file": "The name of a file that you uploaded. Used when “file” is chosen.",
}


@dataclass(frozen=True)
class Control:
    """How a setting is shown: ``default`` as its control holds it; ``choices`` empty unless it is a choice."""

    name: str
    label: str
    info: str
    kind: Kind
    group: str
    choices: tuple[str, ...]
    default: Any


def controls() -> dict[str, Control]:
    """Return the control of every setting by name, in the config's order."""
    return {name: _control(name, about) for name, about in settings().items()}


def advanced() -> dict[str, list[Control]]:
    """Return the controls that have no place of their own, by group."""
    known = controls()
    left = [control for name, control in known.items() if name not in (*MAIN, *PROTECT)]
    grouped = {group: [control for control in left if control.group == group] for group in GROUPS}
    return {group: found for group, found in grouped.items() if found}


def _control(name: str, about: Setting) -> Control:
    kind = _kind(name, about)
    help = about.help
    info = _INFOS.get(name, help[:1].upper() + help[1:] + ".")
    if about.usual:
        info += f" Usual: {about.usual}."
    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    return Control(name, label, info, kind, about.group, about.choices, as_shown(kind, about.default))


def _kind(name: str, about: Setting) -> Kind:
    if name in LISTS:
        return "texts"
    if about.choices:
        return "choice"
    kinds: dict[type, Kind] = {bool: "check", int: "number", float: "decimal", tuple: "lines", str: "text"}
    return kinds[about.type]


def as_shown(kind: Kind, value: Any) -> Any:
    """Return a setting's value as its control holds it."""
    if kind == "texts":
        return ", ".join([value] if isinstance(value, str) else value)
    if kind == "lines":
        return "\n".join([value] if isinstance(value, str) else value)
    if kind == "decimal":
        return repr(float(value)).removesuffix(".0")
    return value


def as_read(kind: Kind, value: Any) -> Any:
    """Return what a control holds as a config takes it; what cannot be read is passed on for the config to refuse."""
    if kind == "texts":
        return texts_of(value)
    if kind == "lines":
        return [line.strip() for line in (value or "").splitlines() if line.strip()]
    if kind == "text":
        return (value or "").strip()
    if kind == "decimal":
        try:
            return float(value)
        except (TypeError, ValueError):
            return value
    return value


def texts_of(box: str | None) -> list[str]:
    """Return what a box with concepts holds as a config takes it: one text, which is read there, or none."""
    return [box.strip()] if box and box.strip() else []


def read_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the form asks for, those that differ from the defaults, as
    :func:`erasure.config.values.config_from_dict` takes them. ``values``: what the controls hold."""
    known = settings()
    read = {name: as_read(control.kind, values[name]) for name, control in controls().items()}
    return {name: value for name, value in read.items() if _comparable(value) != known[name].default}


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def show_settings(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every control holds for these settings, with the defaults for all others.

    A value of the wrong type (in a run of another version) is left at its default. Files are shown by name.
    """
    held: dict[str, Any] = {}
    if chosen.get("vocabulary_file"):
        chosen = {**chosen, "vocabulary_file": PurePath(str(chosen["vocabulary_file"])).name}
    for name, control in controls().items():
        held[name] = control.default
        if name in chosen:
            try:
                held[name] = as_shown(control.kind, chosen[name])
            except (TypeError, ValueError):
                continue
    return held
