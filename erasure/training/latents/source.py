"""What a source of noisy latents answers: give me a state (z_t, t) on the way of sampling this prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model


@dataclass(frozen=True)
class LatentState:
    """One point of a trajectory: z (c, h, w) and t, with the frozen model's predictions there where they are known."""

    z: Tensor
    t: int
    eps: Tensor | None = None  # eps_theta(z_t, c); or the noise that was put on a picture of c
    eps_null: Tensor | None = None  # eps_theta(z_t, "")


def stack(states: Sequence[LatentState]) -> tuple[Tensor, Tensor]:
    """z (b, c, h, w) and t (b,) of several states."""
    z = torch.stack([state.z for state in states])
    return z, torch.tensor([state.t for state in states], device=z.device)


class LatentSource(Protocol):
    def draw(
        self, prompts: Sequence[Prompt], generator: Generator, *, tuned: bool, early: bool = False
    ) -> list[LatentState]:
        """One state per prompt; where the source has the choice, ``tuned``: on the way of the tuned model, and
        ``early``: in the part of the way in which concepts are preserved.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs to draw the same states; by default, nothing is remembered."""
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undoes :meth:`tensors`."""
        return

    def move(self, device: torch.device | str) -> None:
        """What is remembered, to where the model is now; by default, nothing lies on a device."""
        return


def sampled(
    model: Model,
    prompts: Sequence[Prompt],
    noise: Sequence[Tensor],
    taken: Sequence[int],
    *,
    steps: int,
    guidance: float,
) -> list[Tensor]:
    """Return each prompt's latents (c, h, w) after ``taken`` of ``steps`` DDIM steps from its ``noise`` (c, h, w).

    Those that have steps left share a call of the U-Net. See :meth:`erasure.model.model.Model.sample`.
    """
    z, null = list(noise), model.embed([""])
    for i in range(max(taken, default=0)):
        moving = [row for row, last in enumerate(taken) if i < last]
        conditioning = Conditioning.cat([prompts[row].conditioning.detach() for row in moving])
        at = torch.stack([z[row] for row in moving])
        after = model.sample_step(at, i, conditioning, null, steps=steps, guidance=guidance)
        for row, own in zip(moving, after, strict=True):
            z[row] = own
    return z
