"""What a source of noisy latents answers: give me a state (z_t, t) on the way of sampling this prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from erasure.model.denoiser import Denoiser
from erasure.model.embedding import Prompt
from erasure.model.sampling import sample_latents


@dataclass(frozen=True)
class State:
    """One point of a trajectory: z (4, h, w) and t, with the frozen model's predictions there where they are known."""

    z: Tensor
    t: int
    eps: Tensor | None = None  # eps_theta(z_t, c); or the noise that was put on a picture of c
    eps_null: Tensor | None = None  # eps_theta(z_t, "")


def stack(states: Sequence[State]) -> tuple[Tensor, Tensor]:
    """z (b, 4, h, w) and t (b,) of several states."""
    z = torch.stack([state.z for state in states])
    return z, torch.tensor([state.t for state in states], device=z.device)


class LatentSource(Protocol):
    def draw(self, prompts: Sequence[Prompt], generator: Generator, *, tuned: bool) -> list[State]:
        """One state per prompt; ``tuned``: on the way of the tuned model, where the source has the choice."""

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs to draw the same states; by default, nothing is remembered."""
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undoes :meth:`tensors`."""
        return


@dataclass(frozen=True)
class Sampler:
    """What both sources need to sample: shape (4, h, w) of the latents, the embedding of "" and the noise schedule."""

    denoiser: Denoiser
    alphas_cumprod: Tensor
    null: Tensor
    shape: tuple[int, int, int]

    def noise(self, generator: Generator) -> Tensor:
        # Drawn on the CPU, so that a seed means the same picture on every device.
        return torch.randn(self.shape, generator=generator)

    def latents(self, prompt: Prompt, generator: Generator, *, steps: int, guidance: float, stop: int = 0) -> Tensor:
        """Of one prompt, (4, h, w), from new noise: see :func:`erasure.model.sampling.sample_latents`."""
        noise = self.noise(generator)[None].to(self.null.device)
        embedding = prompt.embedding.detach()[None]
        return sample_latents(
            self.denoiser,
            self.alphas_cumprod,
            embedding,
            self.null,
            noise,
            steps=steps,
            guidance=guidance,
            stop=stop,
        )[0]
