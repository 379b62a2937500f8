"""Noisy latents sampled afresh for every draw, as in the published code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Prompt
from erasure.model.model import Model
from erasure.model.sampling import ddim_timesteps
from erasure.training.latents.source import LatentSource, LatentState, sampled


class FreshLatents(LatentSource):
    """The published way: DDIM with the tuned model and guidance from new noise down to a random step, at every draw."""

    def __init__(self, model: Model, config: EraseConfig):
        self._model = model
        self._steps = config.sampling_steps
        self._guidance = config.sampling_guidance

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[Prompt], generator: Generator, *, tuned: bool, early: bool = False
    ) -> list[LatentState]:
        timesteps = ddim_timesteps(self._steps, self._model.train_steps)
        reached, noise = [], []
        for _ in prompts:
            reached.append(int(torch.randint(self._steps, (), generator=generator)))
            noise.append(self._model.noise(generator))
        z = sampled(self._model, prompts, noise, reached, steps=self._steps, guidance=self._guidance)
        return [LatentState(own, timesteps[step]) for own, step in zip(z, reached, strict=True)]
