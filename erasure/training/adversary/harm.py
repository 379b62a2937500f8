"""The harm that erasing does to a prompt, L2 = || eps_theta'(c) - eps_theta(c) ||^2, as the adversary asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.config.settings import LossSpace
from erasure.model.denoiser import Denoiser
from erasure.model.embedding import Prompt
from erasure.training.latents.source import State, stack
from erasure.training.losses import harm_gradient, prediction_loss


@dataclass(frozen=True)
class Harm:
    """``states`` says at which z_t each of some prompts is looked at."""

    denoiser: Denoiser
    alphas_cumprod: Tensor
    space: LossSpace
    states: Callable[[Sequence[Prompt]], Sequence[State]]

    def __call__(self, prompts: list[Prompt]) -> Tensor:
        """d mean(L2) / d embedding, (b, 77, d). Two rows per prompt, forward and backward."""
        z, t, embedding = self._at(prompts)
        return harm_gradient(self.denoiser, z, t, embedding, self.alphas_cumprod[t], self.space)

    @torch.no_grad()
    def measure(self, prompts: list[Prompt]) -> Tensor:
        """L2 per prompt, (b,). Two rows per prompt, forward only."""
        z, t, embedding = self._at(prompts)
        tuned = self.denoiser(z, t, embedding)
        with self.denoiser.frozen():
            frozen = self.denoiser(z, t, embedding)
        return prediction_loss(tuned, frozen, self.alphas_cumprod[t], self.space)

    def _at(self, prompts: list[Prompt]) -> tuple[Tensor, Tensor, Tensor]:
        z, t = stack(self.states(prompts))
        return z, t, torch.stack([prompt.embedding for prompt in prompts])
