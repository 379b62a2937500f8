"""Projected gradient ascent in embedding space, the paper's rejected alternative."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from erasure.config.settings import EraseConfig
from erasure.model.embedding import Prompt
from erasure.training.adversary.search import Adversary, Question


class PgdSearch(Adversary):
    """Projected gradient ascent on the embedding itself, from the target's own (the paper's rejected alternative).

    A step moves by ``search_rate`` times the norm of the start; the whole way is bounded by ``RADIUS`` times it.
    """

    RADIUS = 1.0

    def __init__(self, config: EraseConfig):
        self._steps = config.search_steps
        self._rate = config.search_rate
        self._moved: dict[int, Tensor] = {}

    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        targets = question.targets
        # Several draws of one target in a batch share its perturbation.
        start = {i: among.target for i, among in zip(targets, question.candidates, strict=True)}
        for _ in range(self._steps):
            gradients = question.harm([self._prompt(i, start[i]) for i in targets])
            for i, prompt in start.items():
                own = torch.stack([g for j, g in zip(targets, gradients, strict=True) if j == i]).sum(dim=0)
                delta = self._moved.get(i, torch.zeros_like(own))
                self._moved[i] = self._projected(delta, own, prompt.embedding.norm())
        return [self._prompt(i, start[i]) for i in targets]

    def _prompt(self, i: int, start: Prompt) -> Prompt:
        moved = self._moved.get(i)
        return Prompt(start.text, start.embedding if moved is None else start.embedding + moved, exact=False)

    def _projected(self, delta: Tensor, gradient: Tensor, norm: Tensor) -> Tensor:
        delta = delta + self._rate * norm * gradient / gradient.norm().clamp_min(1e-20)
        return delta * (self.RADIUS * norm / delta.norm().clamp_min(1e-20)).clamp(max=1.0)

    def tensors(self) -> dict[str, Tensor]:
        return {f"moved.{i}": delta.clone() for i, delta in self._moved.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._moved = {int(name.split(".")[1]): delta for name, delta in tensors.items()}
