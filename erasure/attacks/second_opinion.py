"""A classifier as a second opinion beside the judge."""

from __future__ import annotations

from collections.abc import Callable, Collection

from erasure.attacks.witness import Classify
from erasure.evaluate.recognition import Ranks, rank_pictures


def second_opinion(ranks: Ranks, labels: Collection[str]) -> Callable[[str], Classify | None]:
    """Return what tells of a concept whether a classifier sees it first in pictures; None if it is no label of it."""

    def of(concept: str) -> Classify | None:
        if concept not in labels:
            return None
        return lambda pictures: [rank == 0 for rank in rank_pictures(ranks, pictures, [concept] * len(pictures))]

    return of
