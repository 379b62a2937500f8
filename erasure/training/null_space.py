"""What the LoRA reads of prompts is turned away from what preserved prompts are made of.

The keys and values of cross-attention read nothing but the text encoder's token states. A change W' = W + up down
leaves a prompt as it was if ``down`` maps its states to 0. Closed-form methods ask for just that, in the null space of
the preserved prompts' states (SPEED, Li et al., ICLR 2026). A narrow text encoder has no null space, and a hard limit
gives away directions that only few of the prompts use. Here every direction is damped by its share in them:

    down = free P / gain,    P = (l (C + l I)^-1)^(1/2)

with C (d, d) the second moment of their states (see :mod:`erasure.training.preserved_states`), scaled to a mean
eigenvalue of 1, l the ``null_space`` of the config, and ``gain`` how much P leaves of the way from the anchor's states
to the target's, so that a learning rate means the same as without P. What is trained are the weights ``free``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.lora.adapter import text_readers
from erasure.model.model import Model


class NullSpace:
    """The free weights behind ``down`` of every key and value layer that has a LoRA."""

    def __init__(self, model: Model, projection: Tensor):
        """``projection``: P / gain (d, d), symmetric. The LoRA's ``down`` become the free weights' first values."""
        self._down = text_readers(model.unet)
        self._projection = projection.to(model.device)
        self.free = nn.ParameterList([nn.Parameter(down.detach().clone()) for down in self._down])
        self.apply()

    def parameters(self, trained: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """Return what an optimizer is to change instead of ``trained``: the free weights in the place of ``down``."""
        free = {id(down): weight for down, weight in zip(self._down, self.free, strict=True)}
        return [free.get(id(weight), weight) for weight in trained]

    def pull_gradients(self) -> None:
        """Give the free weights the gradient that follows from that of ``down``, which is cleared."""
        for down, free in zip(self._down, self.free, strict=True):
            free.grad = None if down.grad is None else down.grad @ self._projection
            down.grad = None

    @torch.no_grad()
    def apply(self) -> None:
        """Set ``down`` from the free weights."""
        for down, free in zip(self._down, self.free, strict=True):
            down.copy_(free @ self._projection)

    @torch.no_grad()
    def follow(self) -> None:
        """Set the free weights from ``down``, which was set to something else."""
        inverse = torch.linalg.inv(self._projection.double().cpu())
        for down, free in zip(self._down, self.free, strict=True):
            free.copy_(down.double().cpu() @ inverse)
        self.apply()

    def tensors(self) -> dict[str, Tensor]:
        """The free weights."""
        return {str(number): free.detach().clone() for number, free in enumerate(self.free)}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undo :meth:`tensors`; ``down`` stays as it is."""
        with torch.no_grad():
            for number, free in enumerate(self.free):
                free.copy_(tensors[str(number)])

    def move(self, device: torch.device | str) -> None:
        """Move everything; the free weights stay the same objects."""
        self._projection = self._projection.to(device)
        self.free.to(device)


@torch.no_grad()
def projection(model: Model, space: ConceptSpace, config: EraseConfig, moment: Tensor) -> Tensor:
    """Return P / gain (d, d), fp32, for the ``moment`` C (d, d) of what is preserved, float64 on the CPU."""
    values, vectors = torch.linalg.eigh(moment)
    damped: Tensor = (vectors * (config.null_space / (values.clamp_min(0) + config.null_space)).sqrt()) @ vectors.T
    pairs = [(fill(t, target.target), fill(t, target.anchor)) for target in space.targets for t in config.templates]
    own, anchor = (model.embed([pair[i] for pair in pairs]).states.cpu().double().flatten(0, 1) for i in (0, 1))
    way = own - anchor
    gain = (way @ damped).norm() / way.norm().clamp_min(1e-12)
    found: Tensor = (damped / gain.clamp_min(1e-6)).float()
    return found
