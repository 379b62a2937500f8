"""What an update is about: concepts to erase, their anchors, the candidates of the search, and what is given to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.conditioning import Prompt
from erasure.model.model import Model
from erasure.training.adversary.search import Candidates

# How often an update is about a target's own name instead of another one, if it has several.
OWN_NAME_SHARE = 0.75


class ConceptDraws:
    """Draws from a concept space. What is random comes from the generator that is given."""

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig):
        self._model = model
        self._space = space
        self._config = config
        self._names = space.erased_by_target(config)

    def targets(self, generator: Generator, among: Sequence[int]) -> tuple[list[int], str]:
        """Indices of targets, without repeats while there are enough of them, and one template for all."""
        order: list[int] = []
        while len(order) < self._config.batch:
            order += [among[i] for i in torch.randperm(len(among), generator=generator).tolist()]
        return order[: self._config.batch], _choice(self._config.templates, generator)

    def erased(self, target: int, template: str, generator: Generator, *, names_left: bool) -> Prompt:
        """The target's own name most of the time, else a synonym: those are erased by its side, not instead.

        The other way round if only synonyms are left.
        """
        name, *synonyms = self._names[target]
        own_share = 1 - OWN_NAME_SHARE if names_left else OWN_NAME_SHARE
        if synonyms and torch.rand((), generator=generator) >= own_share:
            name = _choice(synonyms, generator)
        return self._model.prompt(fill(template, name))

    def candidates(self, target: int, template: str) -> Candidates:
        """What a search may choose from."""
        space = self._space.targets[target]
        texts = tuple(fill(template, candidate.text) for candidate in space.preserved)
        return Candidates(self._model.prompt(fill(template, space.target)), texts, self._model.embed(texts))

    def anchor(self, target: int, template: str) -> Prompt:
        """What a target turns into."""
        return self._model.prompt(fill(template, self._space.targets[target].anchor))

    def given(self, anchors: Sequence[Prompt], template: str, generator: Generator) -> list[Prompt]:
        """What is preserved without a search."""
        given = list(anchors) if self._config.adversary == "anchor" else []
        if self._config.preserve:
            given.append(self._model.prompt(fill(template, _choice(self._config.preserve, generator))))
        elif self._config.adversary == "fixed":
            given.append(self._model.prompt(""))
        return given


def _choice(items: Sequence[str], generator: Generator) -> str:
    return items[int(torch.randint(len(items), (), generator=generator))]
