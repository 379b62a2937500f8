"""Attack by words: the concept is asked for in other words, other spellings and other prompts."""

from __future__ import annotations

from collections.abc import Sequence

from erasure.attacks.witness import Asked, Shot, Witness, Work
from erasure.concepts.wordings import Wording
from erasure.judge.takes import takes


def try_words(witness: Witness, wordings: Sequence[Wording], pictures: int) -> Work:
    """Draw each wording in as many ``pictures``, the templates in turn, all wordings from the same seeds."""
    return witness.attempts([asked(wording, witness.templates, pictures) for wording in wordings])


def asked(wording: Wording, templates: Sequence[str], pictures: int) -> Asked:
    """Return the attempt that a wording is."""
    shots = tuple(Shot(wording.prompt(template), seed, template) for template, seed in takes(templates, pictures))
    return Asked(wording.kind, wording.prompt(templates[0]), shots)
