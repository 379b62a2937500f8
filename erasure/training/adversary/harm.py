"""The harm that erasing does to a prompt, L2 = || eps_theta'(c) - eps_theta(c) ||^2, as the adversary asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.config.settings import LossSpace
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.latents.source import LatentState, stack
from erasure.training.losses import harm_gradient, prediction_loss


@dataclass(frozen=True)
class Harm:
    """``states`` says at which z_t each of some prompts is looked at."""

    model: Model
    space: LossSpace
    states: Callable[[Sequence[Prompt]], Sequence[LatentState]]

    def __call__(self, prompts: list[Prompt]) -> Conditioning:
        """d mean(L2) / d conditioning, a batch like that of the prompts. Two rows per prompt, forward and backward."""
        return harm_gradient(self.model, *self._at(prompts), self.space)

    @torch.no_grad()
    def measure(self, prompts: list[Prompt]) -> Tensor:
        """L2 per prompt, (b,). Two rows per prompt, forward only."""
        z, t, conditioning = self._at(prompts)
        tuned = self.model.eps(z, t, conditioning)
        with self.model.frozen():
            frozen = self.model.eps(z, t, conditioning)
        return prediction_loss(tuned, frozen, self.model.alphas_cumprod[t], self.space)

    def _at(self, prompts: list[Prompt]) -> tuple[Tensor, Tensor, Conditioning]:
        z, t = stack(self.states(prompts))
        return z, t, Conditioning.cat([prompt.conditioning for prompt in prompts])
