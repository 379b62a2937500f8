"""What tells how well a model still knows a concept: noise on the untouched model's own pictures of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.model.conditioning import Conditioning
from erasure.model.model import Model


@dataclass(frozen=True)
class NoisyPictures:
    """n pictures with noise on them: ``z`` (n, c, h, w) at timesteps ``t`` (n,), and the ``noise`` (n, c, h, w)."""

    z: Tensor
    t: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice) -> NoisyPictures:
        return NoisyPictures(self.z[rows], self.t[rows], self.noise[rows])


def noised(model: Model, pictures: Tensor, t: Tensor, generator: Generator) -> NoisyPictures:
    """Put noise on clean latents (n, c, h, w) at ``t`` (n,): z_t = sqrt(a_t) x + sqrt(1 - a_t) n."""
    t, x = t.to(model.device), pictures.to(model.device)
    noise = torch.stack([model.noise(generator) for _ in pictures])
    alpha_bar = model.alphas_cumprod[t].view(-1, 1, 1, 1)
    return NoisyPictures(alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise, t, noise)


def any_noised(model: Model, pictures: Tensor, count: int, generator: Generator) -> NoisyPictures:
    """Put noise on ``count`` of the pictures, chosen at random, at any timesteps: a batch of diffusion training."""
    chosen = torch.randint(len(pictures), (count,), generator=generator)
    t = torch.randint(model.train_steps, (count,), generator=generator)
    return noised(model, pictures[chosen], t, generator)


def denoising_loss(model: Model, noisy: NoisyPictures, conditioning: Conditioning) -> Tensor:
    """Return (n,): || eps(z_t, t, c) - n ||^2, the loss of diffusion training, by the model as it is now.

    ``conditioning``: a batch of n. A prompt that makes it small is one from which the model draws what is in the
    pictures.
    """
    with model.rows.purpose("attacks"):
        eps = model.eps(noisy.z, noisy.t, conditioning)
    return (eps - noisy.noise).square().mean(dim=(1, 2, 3))
