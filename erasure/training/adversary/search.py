"""What an adversary is asked, and what it answers: the concept that erasing hurts most (Bui et al. 2024, Algorithm 1).

A search asks ``harm(prompts)`` for the gradient of the mean L2 of Eq. 5 in the prompts' conditionings, or measures L2
itself. What it has learnt is kept across updates, so that its steps add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from erasure.model.conditioning import Conditioning, Prompt


class HarmSource(Protocol):
    """What a search may ask about prompts; see :class:`erasure.training.adversary.harm.Harm`."""

    def __call__(self, prompts: list[Prompt], /) -> Conditioning:
        """d mean(L2) / d conditioning, a batch like that of the prompts."""

    def measure(self, prompts: list[Prompt], /) -> Tensor:
        """(b,): L2 of each, without a gradient."""


@dataclass(frozen=True)
class Candidates:
    """The members of R for one target: K texts, a batch of K; and the target itself."""

    target: Prompt
    texts: tuple[str, ...]
    conditioning: Conditioning

    def __getitem__(self, k: int) -> Prompt:
        return Prompt(self.texts[k], self.conditioning[k])


@dataclass(frozen=True)
class Question:
    """One concept to preserve is wanted per entry of ``targets`` (indices of targets); ``candidates`` are theirs."""

    targets: Sequence[int]
    candidates: Sequence[Candidates]
    harm: HarmSource


class Adversary(Protocol):
    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        """The concepts to preserve."""

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs to search on; by default, nothing is remembered."""
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undoes :meth:`tensors`."""
        return

    def move(self, device: torch.device | str) -> None:
        """What is remembered, to where the model is now; by default, nothing lies on a device."""
        return


class NoSearch(Adversary):
    """Nothing is looked for among the candidates: what is preserved, if anything, is given."""

    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        return []


class UniformDraw(Adversary):
    """The control: any candidate, each as likely as the others."""

    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        return [c[int(torch.randint(len(c.texts), (), generator=generator))] for c in question.candidates]
