"""Noisy latents for tests, and what the frozen model predicts there."""

from __future__ import annotations

import torch
from torch import Tensor

from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.latents.source import LatentState, stack


def random_states(model: Model, count: int) -> list[LatentState]:
    generator = torch.Generator().manual_seed(2)
    return [LatentState(torch.randn(model.latent_shape, generator=generator), 300 + 200 * i) for i in range(count)]


def frozen_eps(model: Model, prompts: list[Prompt], states: list[LatentState]) -> Tensor:
    with torch.no_grad(), model.frozen():
        return model.eps(*stack(states), Conditioning.cat([prompt.conditioning for prompt in prompts]))
