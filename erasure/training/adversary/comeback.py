"""How well a prompt brings an erased concept back: -|| eps_theta'(z_t, c') - eps_theta(z_t, c_e) ||^2.

The distance that AdvUnlearn's attack makes small (Zhang et al., NeurIPS 2024, Eq. 3), as a search asks for what it
makes large: so the search for the concept that is hurt most finds the prompt that is erased least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.config.settings import LossSpace
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.gradient_scale import search_scale
from erasure.training.latents.source import LatentState, stack
from erasure.training.losses import prediction_loss


@dataclass(frozen=True)
class Comeback:
    """``wanted`` (b, c, h, w): eps_theta(z_t, c_e) at the b ``states``. It is asked about as many prompts at a time."""

    model: Model
    space: LossSpace
    states: Sequence[LatentState]
    wanted: Tensor

    def __call__(self, prompts: list[Prompt]) -> Conditioning:
        """Return the gradient of the mean in the prompts' conditionings. One row per prompt, forward and backward."""
        leaf = Conditioning.cat([prompt.conditioning for prompt in prompts]).leaf()
        with torch.enable_grad():
            return leaf.gradient(self._of(leaf).mean(), search_scale(self.model.dtype, self.wanted))

    @torch.no_grad()
    def measure(self, prompts: list[Prompt]) -> Tensor:
        """Return it for each prompt, (b,). One row per prompt, forward only."""
        return self._of(Conditioning.cat([prompt.conditioning for prompt in prompts]))

    def _of(self, conditioning: Conditioning) -> Tensor:
        z, t = stack(self.states)
        return -prediction_loss(
            self.model.eps(z, t, conditioning), self.wanted, self.model.alphas_cumprod[t], self.space
        )
