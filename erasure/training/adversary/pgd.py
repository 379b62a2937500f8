"""Projected gradient ascent in embedding space, the paper's rejected alternative."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Conditioning, Prompt
from erasure.training.adversary.search import Adversary, Question
from erasure.training.saved_conditionings import read_conditionings, saved_conditionings


class PgdSearch(Adversary):
    """Projected gradient ascent on the conditioning itself, from the target's own (the paper's rejected alternative).

    A step moves by ``search_rate`` times the norm of the start; the whole way is bounded by ``RADIUS`` times it.
    """

    RADIUS = 1.0

    def __init__(self, config: EraseConfig):
        self._steps = config.search_steps
        self._rate = config.search_rate
        self._moved: dict[int, Conditioning] = {}

    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        targets = question.targets
        # Several draws of one target in a batch share its perturbation.
        start = {i: among.target for i, among in zip(targets, question.candidates, strict=True)}
        for _ in range(self._steps):
            gradients = question.harm([self._prompt(i, start[i]) for i in targets])
            for i, prompt in start.items():
                own = gradients[[row for row, j in enumerate(targets) if j == i]].apply(_total)
                delta = self._moved.get(i, own.apply(torch.zeros_like))
                self._moved[i] = delta.apply(self._projected, own, prompt.conditioning)
        return [self._prompt(i, start[i]) for i in targets]

    def _prompt(self, i: int, start: Prompt) -> Prompt:
        moved = self._moved.get(i)
        conditioning = start.conditioning if moved is None else start.conditioning.moved(moved)
        return Prompt(start.text, conditioning, exact=False)

    def _projected(self, delta: Tensor, gradient: Tensor, start: Tensor) -> Tensor:
        norm: Tensor = start.norm()
        delta = delta + self._rate * norm * gradient / gradient.norm().clamp_min(1e-20)
        shrunk: Tensor = delta * (self.RADIUS * norm / delta.norm().clamp_min(1e-20)).clamp(max=1.0)
        return shrunk

    def tensors(self) -> dict[str, Tensor]:
        return saved_conditionings("moved", self._moved)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._moved = read_conditionings(tensors)

    def move(self, device: torch.device | str) -> None:
        self._moved = {i: delta.to(device) for i, delta in self._moved.items()}


def _total(gradients: Tensor) -> Tensor:
    """Over the batch, as a batch of one."""
    return gradients.sum(dim=0, keepdim=True)
