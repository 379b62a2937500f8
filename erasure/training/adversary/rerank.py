"""The direct way to the concept that erasing hurts most: measure candidates, and draw the worse hit more often.

Bui et al. (2024) call trying every candidate too costly (Section 3.3); a few per update, remembered, are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Prompt
from erasure.training.adversary.search import Adversary, Question

MEASURED_PER_STEP = 2  # two candidates measured cost as much as one gradient step of the other searches
MEMORY = 0.7


class RerankSearch(Adversary):
    """Per target and candidate a running estimate of harm, relative to others measured at the same z_t: 1 = average.

    A candidate is drawn in proportion to its estimate to the power of 1 / temperature: a lower one is sharper.
    """

    def __init__(self, sizes: Sequence[int], config: EraseConfig):
        self._count = MEASURED_PER_STEP * config.search_steps
        self._power = 1 / config.temperature
        self.estimates = [torch.ones(size) for size in sizes]

    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        targets, candidates = question.targets, question.candidates
        picks = [
            [int(torch.randint(len(c.texts), (), generator=generator)) for c in candidates] for _ in range(self._count)
        ]
        prompts = [among[k] for row in picks for k, among in zip(row, candidates, strict=True)]
        measured = question.harm.measure(prompts).cpu().view(self._count, len(targets))
        relative = measured / measured.mean(dim=0, keepdim=True).clamp_min(1e-20)
        for row, values in zip(picks, relative.tolist(), strict=True):
            for i, k, value in zip(targets, row, values, strict=True):
                self.estimates[i][k] = MEMORY * self.estimates[i][k] + (1 - MEMORY) * value
        return [among[self._draw(i, generator)] for i, among in zip(targets, candidates, strict=True)]

    def probabilities(self, target: int) -> Tensor:
        """(K,) the chance of each candidate."""
        weights = self.estimates[target].clamp_min(1e-6) ** self._power
        return weights / weights.sum()

    def _draw(self, target: int, generator: Generator) -> int:
        return int(torch.multinomial(self.probabilities(target), 1, generator=generator))

    def tensors(self) -> dict[str, Tensor]:
        return {f"estimate.{i}": estimate.clone() for i, estimate in enumerate(self.estimates)}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.estimates = [tensors[f"estimate.{i}"].clone() for i in range(len(self.estimates))]
