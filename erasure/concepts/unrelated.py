"""Words that have nothing to do with any target: what pictures of other things are pictures of. Needs no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from erasure.concepts.naming import names_target


def unrelated_words(vocabulary: Sequence[str], close: Collection[str], names: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` words, spread evenly over the vocabulary, that are not ``close`` and name no target.

    ``names``: everything that is erased.
    """
    found: list[str] = []
    for part in range(count):
        begin, end = part * len(vocabulary) // count, (part + 1) * len(vocabulary) // count
        free = (w for w in vocabulary[begin:end] if w not in close and not any(names_target(w, name) for name in names))
        found += [word for word in [next(free, "")] if word]
    return found
