"""Templates: prompts around a concept, ``"a picture of a {}"`` or ``"a picture of a house[ in the style of {}]"``.

``{}`` stands for the concept. Square brackets mark what disappears together with a concept that turns into nothing: the
rest of the prompt, ``"a picture of a house"``, is then its anchor. Without brackets, the anchor is the empty prompt.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PLACE = "{}"
_OPTIONAL = re.compile(r"\[([^][]*\{\}[^][]*)\]")


class Parts(NamedTuple):
    """A prompt in three: what stands before the concept, the concept, and what stands after it."""

    before: str
    concept: str
    after: str


def parts(template: str, concept: str) -> Parts:
    """Return the parts of :func:`fill`; for ``""`` they meet where the concept would stand."""
    if concept:
        before, _, after = _whole(template).partition(PLACE)
        return Parts(before, concept, after)
    marked = _OPTIONAL.search(template)
    return Parts(template[: marked.start()], "", template[marked.end() :]) if marked else Parts("", "", "")


def fill(template: str, concept: str) -> str:
    """Return the prompt with ``concept`` in it; for ``""``, what is left without the concept."""
    return "".join(parts(template, concept))


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
