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

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.adversary.hostile_prompt import hostile_prompts
from erasure.training.defence.defence import Defence, Erased
from erasure.training.defence.sizes import EMBEDDING_RADIUS, EMBEDDING_RATE, EMBEDDING_STEPS, NEAREST
from erasure.training.latents.source import LatentState, stack


class HostileEmbeddings(Defence):
    """Remembers the last hostile embedding of each target, for looks."""

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig):
        self._model = model
        self._space = space
        self._config = config
        self._last: dict[int, Prompt] = {}

    def prepare(self) -> str:
        return ""

    def find(
        self, targets: Sequence[int], template: str, plain: Erased, wanted: Tensor, generator: Generator
    ) -> Erased:
        config = self._config
        known = [replace(state, eps=eps) for state, eps in zip(plain.states, wanted, strict=True)]
        found = hostile_prompts(
            self._model, plain.prompts, known, wanted, config.loss_space,
            steps=EMBEDDING_STEPS, rate=EMBEDDING_RATE, radius=EMBEDDING_RADIUS,
        )  # fmt: skip
        asked = [
            self._meant(target, template, own, hostile, state)
            for target, own, hostile, state in zip(targets, plain.prompts, found, known, strict=True)
        ]
        for target, own, prompt in zip(targets, plain.prompts, asked, strict=True):
            if prompt is not own:
                self._last[target] = prompt
        return Erased(plain.prompts, plain.anchors, asked, known)

    @torch.no_grad()
    def _meant(self, target: int, template: str, own: Prompt, hostile: Prompt, state: LatentState) -> Prompt:
        """Return the hostile prompt, or the one halfway, if the frozen model takes it for the target; else its own."""
        halfway = own.conditioning.apply(lambda a, b: (a + b) / 2, hostile.conditioning)
        tried = [hostile, Prompt(own.text, halfway, exact=False)]
        others = ["", *(fill(template, c.text) for c in self._space.targets[target].preserved[:NEAREST])]
        rows = Conditioning.cat([*(prompt.conditioning for prompt in tried), *map(self._model.embed, _each(others))])
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
        return [self._last[target]][:count] if target in self._last else []

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        return {f"last.{i}": prompt.conditioning.states[0].detach().clone() for i, prompt in self._last.items()}

    def meta(self) -> dict[str, Any]:
        return {"texts": {str(i): prompt.text for i, prompt in self._last.items()}}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        self._last = {
            int(i): Prompt(text, Conditioning(tensors[f"last.{i}"][None]).to(self._model.device), exact=False)
            for i, text in meta["texts"].items()
        }

    def move(self, device: torch.device | str) -> None:
        self._last = {
            i: replace(prompt, conditioning=prompt.conditioning.to(device)) for i, prompt in self._last.items()
        }


def _each(texts: Sequence[str]) -> list[list[str]]:
    return [[text] for text in texts]
