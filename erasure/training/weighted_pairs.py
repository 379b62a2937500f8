"""Pairs of prompts that the closed form learns from: what is erased, and what it turns into."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from erasure.model.model import Model
from erasure.training.attended import Attended, attended


class WeightedPairs:
    """Prompts and those that they turn into, each with its weight in the mean."""

    def __init__(self) -> None:
        self._own: list[str] = []
        self._anchors: list[str] = []
        self._weights: list[float] = []

    def add(self, prompt: str, into: Sequence[str], weight: float) -> None:
        """Add a prompt that turns into the average of others."""
        self._own.extend([prompt] * len(into))
        self._anchors.extend(into)
        self._weights.extend([weight / len(into)] * len(into))

    @property
    def weight(self) -> float:
        """The sum of the weights."""
        return sum(self._weights)

    def read(self, model: Model, seed: int) -> dict[str, Attended]:
        """Return what layers read of them on average, with rows counted for the start."""
        if not self._own:
            return {}
        with model.rows.purpose("start"):
            return attended(model, self._own, seed, self._anchors, self._weights)


def anchor_prompts(put: Callable[[str], str], anchor: str, words: Sequence[str], first: int, most: int) -> list[str]:
    """Return the prompts that stand for the anchor of a name: one, or some for the average word.

    ``put``: puts text where the name stood; ``words``: of which ``most`` are taken, from number ``first`` on, if
    nothing would be left of the prompt.
    """
    into = put(anchor)
    if into or not words:
        return [into]
    return [put(words[(first + i) % len(words)]) for i in range(most)]
