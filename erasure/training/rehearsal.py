"""Rehearsal: concepts from all over the vocabulary are preserved along with what the adversary finds.

The adversary looks near the targets, where most of the harm is. What is far takes a little harm from every target. That
adds up with many of them, and no search among the near finds it. So a few words, near and far, are rehearsed in every
update, on trajectories of the frozen model that are kept: its own predictions on them are known, so that a rehearsed
concept costs one row of the tuned model and, on average, few rows of sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.concepts.space import ConceptSpace
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.config.template import fill
from erasure.model.conditioning import Prompt
from erasure.model.model import Model
from erasure.spread import spread
from erasure.training.latents.replay import ReplayLatents
from erasure.training.latents.source import LatentState
from erasure.training.rehearsal_sizes import NEAR_SHARE, WORDS, WORDS_PER_TARGET

# Draws from one trajectory before a new one is sampled.
REUSE = 1000


@dataclass(frozen=True)
class Rehearsed:
    """What is preserved besides: prompts, with states on trajectories of the frozen model."""

    prompts: list[Prompt]
    states: list[LatentState]


class Rehearsal:
    """Draws the words in random order, none twice before all were drawn."""

    def __init__(self, model: Model, words: Sequence[str], config: EraseConfig):
        self._model = model
        self._words = tuple(words)
        self._count = config.rehearsed
        self._templates = config.templates
        self._source = ReplayLatents(model, with_changes(config, reuse=REUSE))

    def draw(self, step: int, generator: Generator) -> Rehearsed:
        """Return what is rehearsed in an update; ``step``: the number of updates before."""
        if not self._words:
            return Rehearsed([], [])
        prompts = []
        for k in range(step * self._count, (step + 1) * self._count):
            turn, place = divmod(k, len(self._words))
            order = torch.randperm(len(self._words), generator=Generator().manual_seed(turn))
            # Each word always in the same template, so that its trajectory is that of one prompt.
            number = int(order[place])
            prompts.append(
                self._model.prompt(fill(self._templates[number % len(self._templates)], self._words[number]))
            )
        return Rehearsed(prompts, self._source.draw(prompts, generator, tuned=False, early=True))

    def tensors(self) -> dict[str, Tensor]:
        """Return the trajectories."""
        return self._source.tensors()

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undo :meth:`tensors`."""
        self._source.load_tensors(tensors)


def rehearsed_words(model: Model, space: ConceptSpace, config: EraseConfig) -> list[str]:
    """Choose the words: the nearest of each target in turn, and words spread over the vocabulary; none is erased."""
    count = WORDS + WORDS_PER_TARGET * len(space.targets)
    lists = [[c.text for c in target.preserved] for target in space.targets]
    near = [words[k] for k in range(max(map(len, lists), default=0)) for words in lists if k < len(words)]
    near = list(dict.fromkeys(near))
    chosen = near[: round(count * NEAR_SHARE)]
    others = set(near) | space.gone(config)
    far = [word for word in load_vocabulary(config, model.tokenizer) if word not in others]
    return [*chosen, *spread(far, count - len(chosen))]
