"""Erasing and preserving success rates: is a concept still recognised? (Bui et al. 2024, Section 4.1)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from erasure.errors import EvaluationError

Ranks = Callable[[Sequence[Image.Image], Sequence[str]], list[int]]
"""A classifier: takes pictures and their labels, returns each label's rank among all labels (0 = recognised first)."""


def erasing_success(ranks: Sequence[int], k: int) -> float:
    """Return ESR-k: the share (%) of pictures of erased concepts whose concept is not among the classifier's first k.

    Raises: EvaluationError if there are no pictures.
    """
    return 100 - preserving_success(ranks, k)


def preserving_success(ranks: Sequence[int], k: int) -> float:
    """Return PSR-k: the share (%) of pictures of kept concepts whose concept is among the classifier's first k.

    Raises: EvaluationError if there are no pictures.
    """
    if not ranks:
        raise EvaluationError("there are no pictures to judge. Draw at least one per concept.")
    return 100 * sum(rank < k for rank in ranks) / len(ranks)


def rank_pictures(
    classifier: Ranks, pictures: Sequence[Image.Image] | Sequence[Callable[[], Image.Image]], labels: Sequence[str]
) -> list[int]:
    """Rank many pictures, 64 at a time. They can be given as functions that open them, so that few are in memory."""
    ranks: list[int] = []
    for start in range(0, len(pictures), 64):
        chunk = [picture() if callable(picture) else picture for picture in pictures[start : start + 64]]
        ranks += classifier(chunk, labels[start : start + 64])
    return ranks
