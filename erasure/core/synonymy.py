"""Synonyms by measurement: two prompts mean the same to a model if it predicts the same noise for both."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from erasure.core.denoiser import Denoiser
from erasure.core.sampling import alpha_bar_after, ddim_step, ddim_timesteps, guided_eps

# A model that moves its prediction by less than this share for the target knows nothing of it.
UNKNOWN = 1e-6
FIRST_LOOK = 2


@torch.no_grad()
def measure_difference(
    denoiser: Denoiser,
    alphas_cumprod: Tensor,
    target: Tensor,
    candidates: Tensor,
    null: Tensor,
    *,
    shape: tuple[int, int, int],
    states: int,
    seed: int,
    threshold: float,
    guidance: float = 3.0,
    steps: int = 10,
    rows: int = 32,
) -> Tensor:
    """s(c) = E || eps(z_t, c) - eps(z_t, c_e) ||^2 / E || eps(z_t, "") - eps(z_t, c_e) ||^2, (k,), frozen.

    target and null (77, d), candidates (k, 77, d); the expectation is over ``states`` points (z_t, t) of the
    target's own DDIM sampling. All candidates are tried on two of these; only those that come out below four
    times ``threshold`` are worth the others. Near 0: drawn just like the target; 1: as different as an empty
    prompt. All are infinite if the model draws the target like an empty prompt: nothing can be said then.
    """
    with denoiser.frozen():
        z, t = _trajectory_states(
            denoiser, alphas_cumprod, target, null, shape, states, seed, guidance=guidance, steps=steps
        )
        own = denoiser(z, t, target.expand(len(z), -1, -1))
        distance = (denoiser(z, t, null.expand(len(z), -1, -1)) - own).square().mean(dim=(1, 2, 3))
        if distance.mean() <= UNKNOWN * own.square().mean():
            return torch.full((len(candidates),), float("inf"))
        first = min(FIRST_LOOK, states)
        order = torch.tensor(_spread(first, states))
        rest = torch.tensor([i for i in range(states) if i not in order.tolist()], dtype=torch.long)
        moved = torch.zeros(len(candidates), states)
        moved[:, order] = _moved(denoiser, z[order], t[order], own[order], candidates, rows)
        rough = moved[:, order].mean(1) / distance[order].mean().cpu()
        close = (rough < 4 * threshold).nonzero().flatten()
        if len(close) and len(rest):
            found = _moved(
                denoiser, z[rest], t[rest], own[rest], candidates[close.to(candidates.device)], rows
            )
            moved[close.unsqueeze(1), rest.unsqueeze(0)] = found
            rough[close] = moved[close].mean(1) / distance.mean().cpu()
        return rough


def _trajectory_states(
    denoiser: Denoiser,
    alphas_cumprod: Tensor,
    target: Tensor,
    null: Tensor,
    shape: tuple[int, int, int],
    states: int,
    seed: int,
    *,
    guidance: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """z (states, 4, h, w) and t (states,), evenly spread over a run from two noises, noisiest first."""
    generator = Generator().manual_seed(seed)
    z = torch.randn((2, *shape), generator=generator).to(target.device)
    timesteps = ddim_timesteps(steps)
    embedding = target.expand(2, -1, -1)
    wanted = _spread(states, steps)
    found: list[tuple[Tensor, int]] = []
    for i in range(max(wanted) + 1):
        # The two noises take turns.
        found += [(z[len(found) % 2], timesteps[i])] * wanted.count(i)
        t = torch.full((2,), timesteps[i], device=z.device)
        guided, _, _ = guided_eps(denoiser, z, t, embedding, null, guidance)
        z = ddim_step(z, guided, alphas_cumprod[t], alpha_bar_after(alphas_cumprod, timesteps, i, 2))
    return torch.stack([z for z, _ in found]), torch.tensor([t for _, t in found], device=target.device)


def _spread(count: int, total: int) -> list[int]:
    """``count`` of the indices 0..total-1, evenly spread, so that noisy and clean states come alike."""
    return [int((i + 0.5) * total / count) for i in range(count)]


def _moved(denoiser: Denoiser, z: Tensor, t: Tensor, own: Tensor, candidates: Tensor, rows: int) -> Tensor:
    """Mean squared difference to ``own`` per candidate and state, (k, states), ``rows`` rows at a time."""
    k, n = len(candidates), len(z)
    pairs = torch.arange(k * n)
    parts = []
    for chunk in pairs.split(rows):
        c, s = (chunk // n).to(z.device), (chunk % n).to(z.device)
        eps = denoiser(z[s], t[s], candidates[c])
        parts.append((eps - own[s]).square().mean(dim=(1, 2, 3)).cpu())
    return torch.cat(parts).view(k, n)
