"""Deterministic DDIM sampling (Song et al. 2021, eta = 0) with classifier-free guidance, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from erasure.model.conditioning import Conditioning

Eps = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""A function eps(z_t, t, c), such as :meth:`erasure.model.model.Model.eps`."""


def ddim_timesteps(steps: int, train_steps: int, *, offset: int = 1) -> list[int]:
    """Return the timesteps of a sampling, noisiest first, spaced as for SD 1.x ("leading" spacing, offset 1)."""
    stride = train_steps // steps
    return [min(i * stride + offset, train_steps - 1) for i in reversed(range(steps))]


def ddim_step(z: Tensor, eps: Tensor, alpha_bar: Tensor, alpha_bar_next: Tensor) -> Tensor:
    """Return z at the next, less noisy timestep (DDIM, Eq. 12 with sigma = 0).

    alpha_bar: (b,), z and eps: (b, c, h, w).
    """
    a, a_next = alpha_bar.view(-1, 1, 1, 1), alpha_bar_next.view(-1, 1, 1, 1)
    x0 = (z - (1 - a).sqrt() * eps) / a.sqrt()
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps


def guided_eps(
    eps: Eps, z: Tensor, t: Tensor, conditioning: Conditioning, null: Conditioning, guidance: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the guided, the conditional and the unconditional noise.

    With guidance 1 the unconditional noise is not evaluated, but None. z (b, c, h, w), t (b,), b prompts; ``null``: the
    empty prompt, a batch of one.
    """
    if guidance == 1:
        conditional = eps(z, t, conditioning)
        return conditional, conditional, None
    prompts = Conditioning.cat([conditioning, null.expand(len(z))])
    conditional, unconditional = eps(torch.cat([z, z]), torch.cat([t, t]), prompts).chunk(2)
    return unconditional + guidance * (conditional - unconditional), conditional, unconditional


@torch.no_grad()
def ddim_next(
    eps: Eps,
    alphas_cumprod: Tensor,
    z: Tensor,
    i: int,
    conditioning: Conditioning,
    null: Conditioning,
    *,
    steps: int,
    guidance: float,
) -> Tensor:
    """Return the latents (b, c, h, w) after step i (from 0) of ``steps``; z: those before it, at first noise."""
    timesteps = ddim_timesteps(steps, len(alphas_cumprod))
    t = torch.full((len(z),), timesteps[i], device=z.device)
    guided, _, _ = guided_eps(eps, z, t, conditioning, null, guidance)
    return ddim_step(z, guided, alphas_cumprod[t], alpha_bar_after(alphas_cumprod, timesteps, i, len(z)))


def alpha_bar_after(alphas_cumprod: Tensor, timesteps: Sequence[int], i: int, rows: int) -> Tensor:
    """Return alpha_bar (rows,) of the step after i; after the last step SD 1.x uses that of timestep 0."""
    following = timesteps[i + 1] if i + 1 < len(timesteps) else 0
    return alphas_cumprod[following].expand(rows)
