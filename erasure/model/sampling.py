"""Deterministic DDIM sampling (Song et al. 2021, eta = 0) with classifier-free guidance, one step at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from erasure.model.denoiser import Denoiser


def ddim_timesteps(steps: int, *, offset: int = 1, train_steps: int = 1000) -> list[int]:
    """The timesteps of a run, noisiest first, evenly spaced as SD 1.x samples them ("leading" spacing, offset 1)."""
    stride = train_steps // steps
    return [min(i * stride + offset, train_steps - 1) for i in reversed(range(steps))]


def ddim_step(z: Tensor, eps: Tensor, alpha_bar: Tensor, alpha_bar_next: Tensor) -> Tensor:
    """z at the next, less noisy timestep (DDIM, Eq. 12 with sigma = 0). alpha_bar: (b,), z and eps: (b, 4, h, w)."""
    a, a_next = alpha_bar.view(-1, 1, 1, 1), alpha_bar_next.view(-1, 1, 1, 1)
    x0 = (z - (1 - a).sqrt() * eps) / a.sqrt()
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps


def guided_eps(
    denoiser: Denoiser, z: Tensor, t: Tensor, embedding: Tensor, null: Tensor, guidance: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(guided, conditional, unconditional) noise; with guidance 1 the unconditional row is not evaluated: None.

    z (b, 4, h, w), t (b,), embedding (b, 77, d), null (77, d) the embedding of the empty prompt.
    """
    if guidance == 1:
        conditional = denoiser(z, t, embedding)
        return conditional, conditional, None
    both = denoiser(torch.cat([z, z]), torch.cat([t, t]), torch.cat([embedding, null.expand_as(embedding)]))
    conditional, unconditional = both.chunk(2)
    return unconditional + guidance * (conditional - unconditional), conditional, unconditional


@torch.no_grad()
def sample_latents(
    denoiser: Denoiser,
    alphas_cumprod: Tensor,
    embedding: Tensor,
    null: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: float,
    stop: int = 0,
) -> Tensor:
    """DDIM from ``noise`` (b, 4, h, w), batched over prompts (b, 77, d); the last ``stop`` steps are left out.

    With stop = 0 the clean latents come back; otherwise z_t at timestep ``ddim_timesteps(steps)[steps - stop]``.
    """
    taken = sampling_steps(denoiser, alphas_cumprod, embedding, null, noise, steps=steps, guidance=guidance, stop=stop)
    return deque(taken, maxlen=1).pop() if stop < steps else noise


@torch.no_grad()
def sampling_steps(
    denoiser: Denoiser,
    alphas_cumprod: Tensor,
    embedding: Tensor,
    null: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: float,
    stop: int = 0,
) -> Iterator[Tensor]:
    """The latents (b, 4, h, w) after every step of :func:`sample_latents`."""
    timesteps = ddim_timesteps(steps)
    z = noise
    for i in range(steps - stop):
        t = torch.full((len(z),), timesteps[i], device=z.device)
        eps, _, _ = guided_eps(denoiser, z, t, embedding, null, guidance)
        z = ddim_step(z, eps, alphas_cumprod[t], alpha_bar_after(alphas_cumprod, timesteps, i, len(z)))
        yield z


def alpha_bar_after(alphas_cumprod: Tensor, timesteps: Sequence[int], i: int, rows: int) -> Tensor:
    """alpha_bar (rows,) of the step after i; past the last step SD 1.x uses alpha_bar at timestep 0."""
    following = timesteps[i + 1] if i + 1 < len(timesteps) else 0
    return alphas_cumprod[following].expand(rows)
