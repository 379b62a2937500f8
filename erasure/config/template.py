"""Templates: prompts around a concept, ``"a picture of a {}"`` or ``"a picture of a house[ in the style of {}]"``.

``{}`` stands for the concept. Square brackets say what goes with a concept that turns into nothing: the rest of the
prompt, ``"a picture of a house"``, is then its anchor. Without brackets, nothing is left of the prompt.
"""

from __future__ import annotations

import re

PLACE = "{}"
_GOES = re.compile(r"\[([^][]*\{\}[^][]*)\]")


def fill(template: str, concept: str) -> str:
    """The prompt that ``template`` makes of ``concept``; of ``""``, what is left where the concept is gone."""
    if concept:
        return _whole(template).replace(PLACE, concept)
    rest, marked = _GOES.subn("", template)
    return rest if marked else ""


def concept_in(template: str, prompt: str) -> str | None:
    """The concept that ``template`` made ``prompt`` of; None if it cannot have."""
    before, _, after = _whole(template).partition(PLACE)
    if prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after):
        return prompt[len(before) : len(prompt) - len(after)]
    return None


def template_problem(template: str) -> str | None:
    """What is wrong with ``template``, or None."""
    if template.count(PLACE) != 1:
        return f"{template!r} needs exactly one {PLACE}"
    if any(mark in _whole(template) for mark in "[]"):
        return f"{template!r} has square brackets that are not one pair around {PLACE}: they mark what goes with it"
    return None


def _whole(template: str) -> str:
    """Without the brackets, and with what is in them."""
    return _GOES.sub(r"\1", template)
