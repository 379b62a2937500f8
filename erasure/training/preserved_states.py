"""The token states of words that are to stay as they are: what a change of keys and values must not touch.

Most are of the words nearest to each target, where most harm is done; the others are of words spread over the
vocabulary: a change that spares near words alone goes where they have no share, and hurts all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.model import Model
from erasure.spread import spread
from erasure.training.closed_start_sizes import of_each

# The nearest words of each target, at most so many of all together, and their share in the moment.
NEAR_WORDS, MOST_NEAR_WORDS, NEAR_SHARE = 25, 300, 0.6
FAR_WORDS = 300
# Prompts that go through the text encoder together.
BATCH = 256


class PreservedStates:
    """All token states of near words (k, n, d), of far words (m, n', d) and of the empty prompt (l, d), on the CPU."""

    def __init__(self, near: Tensor, far: Tensor, empty: Tensor):
        self._near = near
        self._far = far
        self._empty = empty

    def moment(self) -> Tensor:
        """Return E[c c^T] (d, d) with a mean eigenvalue of 1, float64 on the CPU."""
        near = (len(self._near) * _moment(self._near) + _moment(self._empty[None])) / (len(self._near) + 1)
        parts = [near, _moment(self._far)] if len(self._far) else [near]
        near, *far = [part / part.diagonal().mean() for part in parts]
        return NEAR_SHARE * near + (1 - NEAR_SHARE) * far[0] if far else near


def _moment(words: Tensor) -> Tensor:
    """Return the mean of c c^T (d, d), float64, over the states c of words (k, n, d); zeros without a word."""
    total = torch.zeros((words.shape[-1],) * 2, dtype=torch.float64)
    for states in words:
        total += (states.T @ states).double() / len(states)
    return total / max(1, len(words))


def preserved_states(model: Model, space: ConceptSpace, config: EraseConfig) -> PreservedStates:
    """Return the states of the nearest words and of ``config.preserve`` in all templates, and those of far words.

    Far words have one template each, which take turns. None of them names what is erased.
    """
    each = of_each(len(space.targets), NEAR_WORDS, MOST_NEAR_WORDS)
    words = dict.fromkeys(c.text for target in space.targets for c in target.preserved[:each])
    templates = config.templates
    near = [[fill(template, word) for template in templates] for word in dict.fromkeys((*words, *config.preserve))]
    chosen = far_words(model, space, config, FAR_WORDS)
    far = [[fill(templates[i % len(templates)], word)] for i, word in enumerate(chosen)]
    empty = model.embed([""]).states[0].float().cpu()
    return PreservedStates(_states(model, near, empty), _states(model, far, empty), empty)


def far_words(model: Model, space: ConceptSpace, config: EraseConfig, count: int) -> list[str]:
    """Return at most ``count`` words spread over the vocabulary, none of which names what is erased."""
    gone = space.gone(config)
    return [word for word in spread(load_vocabulary(config, model.tokenizer), count) if word not in gone]


@torch.no_grad()
def _states(model: Model, words: Sequence[Sequence[str]], empty: Tensor) -> Tensor:
    """Return the states (k, n, d) of k words, each given as the prompts that it is in, equally many."""
    found = [torch.empty(0, *empty.shape)]
    prompts = [prompt for own in words for prompt in own]
    for first in range(0, len(prompts), BATCH):
        found.append(model.embed(prompts[first : first + BATCH]).states.float().cpu())
    each = len(words[0]) * len(empty) if words else len(empty)
    return torch.cat(found).view(len(words), each, empty.shape[1])
