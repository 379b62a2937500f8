"""Templates: prompts around a concept, ``"a picture of a {}"`` or ``"a picture of a house[ in the style of {}]"``.

``{}`` stands for the concept. Square brackets mark what disappears together with a concept that turns into nothing: the
rest of the prompt, ``"a picture of a house"``, is then its anchor. Without brackets, the anchor is the empty prompt.
"""

from __future__ import annotations

import re

PLACE = "{}"
_OPTIONAL = re.compile(r"\[([^][]*\{\}[^][]*)\]")


def fill(template: str, concept: str) -> str:
    """Return the prompt with ``concept`` in it; for ``""``, what is left without the concept."""
    if concept:
        return _whole(template).replace(PLACE, concept)
    rest, marked = _OPTIONAL.subn("", template)
    return rest if marked else ""


def concept_in(template: str, prompt: str) -> str | None:
    """Return the concept in a ``prompt`` made from ``template``; None if it was not made from it."""
    before, _, after = _whole(template).partition(PLACE)
    if prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after):
        return prompt[len(before) : len(prompt) - len(after)]
    return None


def template_problem(template: str) -> str | None:
    """Return what is wrong with ``template``, or None."""
    if template.count(PLACE) != 1:
        return f"{template!r} needs exactly one {PLACE}"
    if any(mark in _whole(template) for mark in "[]"):
        return f"{template!r} has square brackets that are not one pair around {PLACE}; they mark what goes with it"
    return None


def _whole(template: str) -> str:
    """Return the template without its brackets, but with what is in them."""
    return _OPTIONAL.sub(r"\1", template)
