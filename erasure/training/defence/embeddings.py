"""Hostile embeddings: near the target's own, the one that brings it back best, as long as it means the target.

A few steps of descent as in AdvUnlearn (Zhang et al., NeurIPS 2024, Eq. 3), bounded in distance as there and in RECE
(Gong et al., ECCV 2024). What it means is asked of the frozen model: its prediction must be nearer to that for the
target than to those for the nearest words that stay, and for no prompt at all. Else half of the way is tried, and then
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from erasure.concepts.hostile_wordings import HostileWording
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.adversary.hostile_prompt import hostile_prompts
from erasure.training.defence.defence import Defence, Erased
from erasure.training.defence.sizes import EMBEDDING_RADIUS, EMBEDDING_RATE, EMBEDDING_STEPS, NEAREST
from erasure.training.latents.source import LatentState, stack
from erasure.training.saved_conditionings import read_conditionings, saved_conditionings


class HostileEmbeddings(Defence):
    """Remembers how far from each target's own embedding it is, so that the steps of all updates add up."""

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig):
        self._model = model
        self._space = space
        self._config = config
        self._way: dict[int, Conditioning] = {}

    def prepare(self) -> str:
        return ""

    @property
    def wordings(self) -> Sequence[Sequence[HostileWording]]:
        return ()

    def find(
        self, targets: Sequence[int], template: str, plain: Erased, wanted: Tensor, generator: Generator
    ) -> Erased:
        known = [replace(state, eps=eps) for state, eps in zip(plain.states, wanted, strict=True)]
        begin = [self._moved(target, own) for target, own in zip(targets, plain.prompts, strict=True)]
        found = hostile_prompts(
            self._model, plain.prompts, known, wanted, self._config.loss_space,
            steps=EMBEDDING_STEPS, rate=EMBEDDING_RATE, radius=EMBEDDING_RADIUS,
            begin=Conditioning.cat([prompt.conditioning for prompt in begin]),
        )  # fmt: skip
        asked = []
        for target, own, hostile, state in zip(targets, plain.prompts, found, known, strict=True):
            meant = self._meant(target, template, own, hostile, state)
            asked.append(meant)
            self._way.pop(target, None)  # begins anew if it went astray
            if meant is not own:
                self._way[target] = meant.conditioning.apply(torch.sub, own.conditioning)
        return Erased(plain.prompts, plain.anchors, asked, known)

    def _moved(self, target: int, own: Prompt) -> Prompt:
        way = self._way.get(target)
        return own if way is None else Prompt(own.text, own.conditioning.moved(way), exact=False)

    @torch.no_grad()
    def _meant(self, target: int, template: str, own: Prompt, hostile: Prompt, state: LatentState) -> Prompt:
        """Return the hostile prompt, or the one halfway, if the frozen model takes it for the target; else its own."""
        halfway = own.conditioning.apply(lambda a, b: (a + b) / 2, hostile.conditioning)
        tried = [hostile, Prompt(own.text, halfway, exact=False)]
        near = self._space.targets[target].preserved[:NEAREST]
        others = [self._model.prompt(text) for text in ("", *(fill(template, c.text) for c in near))]
        # What is hostile is what the tuned model is told; what it means, the frozen one tells of just that.
        told = [prompt.conditioning.as_tuned for prompt in tried]
        rows = Conditioning.cat([*told, *(prompt.conditioning.as_frozen for prompt in others)])
        z, t = stack([state] * len(rows))
        with self._model.frozen():
            eps = self._model.eps(z, t, rows)
        assert state.eps is not None
        for prompt, means in zip(tried, eps, strict=False):
            apart = (eps[len(tried) :] - means).square().mean(dim=(1, 2, 3))
            if bool(((means - state.eps).square().mean() < apart).all()):
                return prompt
        return own

    def worst(self, target: int, template: str, count: int) -> list[Prompt]:
        own = self._model.prompt(fill(template, self._space.targets[target].target))
        return [self._moved(target, own)][:count] if target in self._way else []

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        return saved_conditionings("way", self._way)

    def meta(self) -> dict[str, Any]:
        return {}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        self._way = {i: way.to(self._model.device) for i, way in read_conditionings(tensors).items()}

    def move(self, device: torch.device | str) -> None:
        self._way = {i: way.to(device) for i, way in self._way.items()}
