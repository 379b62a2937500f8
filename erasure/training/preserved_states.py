"""The token states of words that are to stay as they are: what a change of keys and values must not touch.

Most are of the words nearest to each target, where most harm is done; the others are of words spread over the
vocabulary: a change that spares near words alone goes where they have no share, and hurts all others.

Words have weights. With :meth:`PreservedStates.reweigh` a word that a change would move more than others gets more of
it, as an adversary does who plays multiplicative weights (Arora, Hazan and Kale 2012): its answer to every change is
the words that it hurts most.
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

# The nearest words of each target, at most so many of all together, and their share in the moment.
NEAR_WORDS, MOST_NEAR_WORDS, NEAR_SHARE = 25, 300, 0.6
FAR_WORDS = 300
# Prompts that go through the text encoder together.
BATCH = 256
# A word weighs between the first and the second times as much as it did at the beginning.
LIGHTEST, HEAVIEST = 0.05, 20.0


class WordStates:
    """All token states of some words, ``states`` (k, n, d), with a weight for each word. On the CPU."""

    def __init__(self, states: Tensor):
        self._states = states
        self._weights = torch.ones(len(states), dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._states)

    def moment(self) -> Tensor:
        """Return the weighted mean of c c^T (d, d) over all states c, float64; zeros without a word."""
        width = self._states.shape[-1]
        total = torch.zeros((width, width), dtype=torch.float64)
        for weight, states in zip(self._weights, self._states, strict=True):
            total = total + weight / len(states) * (states.T @ states).double()
        return total / self._weights.sum().clamp_min(1e-12)

    def reweigh(self, change: Tensor, empty: Tensor) -> None:
        """Multiply the weight of every word with the harm that ``change`` (d, d) does to it, relative to the mean.

        The harm is how far its states move, in units of their distance from those of the ``empty`` prompt (l, d), of
        which n is a multiple: a word in several templates.
        """
        moved = torch.stack([(states @ change.T.float()).norm() for states in self._states]).double()
        origin = empty.repeat(self._states.shape[1] // len(empty), 1)
        distance = torch.stack([(states - origin).norm() for states in self._states]).double()
        harm = moved / distance.clamp_min(1e-3 * distance.mean().clamp_min(1e-12))
        self._weights = (self._weights * harm / harm.mean().clamp_min(1e-12)).clamp(LIGHTEST, HEAVIEST)


class PreservedStates:
    """The near words, the far words and the empty prompt."""

    def __init__(self, near: WordStates, far: WordStates, empty: Tensor):
        """``empty``: the states of the empty prompt (l, d), a divisor of the words' numbers of states."""
        self._near = near
        self._far = far
        self._empty = empty

    def moment(self) -> Tensor:
        """Return E[c c^T] (d, d) with a mean eigenvalue of 1, float64 on the CPU."""
        empty = self._empty.double()
        near = (len(self._near) * self._near.moment() + empty.T @ empty / len(empty)) / (len(self._near) + 1)
        parts = [near, self._far.moment()] if len(self._far) else [near]
        near, *far = [part / part.diagonal().mean() for part in parts]
        return NEAR_SHARE * near + (1 - NEAR_SHARE) * far[0] if far else near

    def reweigh(self, change: Tensor) -> None:
        """Let words that ``change`` (d, d), a map of states, hurts more than others of their kind weigh more."""
        for words in (self._near, self._far):
            if len(words):
                words.reweigh(change, self._empty)


def preserved_states(model: Model, space: ConceptSpace, config: EraseConfig) -> PreservedStates:
    """Return the states of the nearest words and of ``config.preserve`` in all templates, and those of far words.

    Far words have one template each, which take turns. None of them names what is erased.
    """
    each = min(NEAR_WORDS, max(1, MOST_NEAR_WORDS // len(space.targets)))
    words = dict.fromkeys(c.text for target in space.targets for c in target.preserved[:each])
    templates, gone = config.templates, space.gone(config)
    near = [[fill(template, word) for template in templates] for word in dict.fromkeys((*words, *config.preserve))]
    listed = spread(load_vocabulary(config, model.tokenizer), FAR_WORDS)
    chosen = [word for word in listed if word not in gone]
    far = [[fill(templates[i % len(templates)], word)] for i, word in enumerate(chosen)]
    empty = model.embed([""]).states[0].float().cpu()
    return PreservedStates(_states(model, near, empty), _states(model, far, empty), empty)


@torch.no_grad()
def _states(model: Model, words: Sequence[Sequence[str]], empty: Tensor) -> WordStates:
    """Return the states of words, each given as the prompts that it is in, equally many."""
    found = [torch.empty(0, *empty.shape)]
    prompts = [prompt for own in words for prompt in own]
    for first in range(0, len(prompts), BATCH):
        found.append(model.embed(prompts[first : first + BATCH]).states.float().cpu())
    each = len(words[0]) * len(empty) if words else len(empty)
    return WordStates(torch.cat(found).view(len(words), each, empty.shape[1]))
