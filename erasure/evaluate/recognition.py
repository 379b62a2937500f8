"""Erasing and preserving success rates: is a concept still recognised? (Bui et al. 2024, Section 4.1)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from erasure.errors import EvaluationError

Ranks = Callable[[Sequence[Image.Image], Sequence[str]], list[int]]
"""A classifier: per picture the rank of its label among all labels, 0 = recognised first."""


def erasing_success(ranks: Sequence[int], k: int) -> float:
    """ESR-k in %: share of pictures of erased concepts in which the concept is not among the classifier's first k."""
    return 100 - preserving_success(ranks, k)


def preserving_success(ranks: Sequence[int], k: int) -> float:
    """PSR-k in %: share of pictures of kept concepts in which the concept is among the classifier's first k.

    Raises: EvaluationError if there are no pictures.
    """
    if not ranks:
        raise EvaluationError("there are no pictures to judge; draw at least one per concept")
    return 100 * sum(rank < k for rank in ranks) / len(ranks)


def rank_pictures(
    classifier: Ranks, pictures: Sequence[Image.Image] | Sequence[Callable[[], Image.Image]], labels: Sequence[str]
) -> list[int]:
    """Ranks of many pictures, 64 at a time; a picture may be a function that opens it, so that few are in memory."""
    ranks: list[int] = []
    for start in range(0, len(pictures), 64):
        chunk = [picture() if callable(picture) else picture for picture in pictures[start : start + 64]]
        ranks += classifier(chunk, labels[start : start + 64])
    return ranks
