"""The templates and seeds of the pictures that are judged: the same for every concept. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

FIRST_SEED = 101


def takes(templates: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Return (template, seed) of ``count`` pictures of a concept. The templates take turns.

    All concepts begin with the same seeds, so that their pictures differ in nothing but the concept.
    """
    return [(templates[k % len(templates)], FIRST_SEED + k) for k in range(count)]
