"""Synonyms by measurement: two prompts mean the same to a model if it predicts the same noise for both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.model.denoiser import Denoiser
from erasure.model.sampling import alpha_bar_after, ddim_step, ddim_timesteps, guided_eps

# A model that moves its prediction by less than this share for the target knows nothing of it.
UNKNOWN = 1e-6
FIRST_LOOK = 2


@dataclass(frozen=True)
class Probe:
    """Where a target is compared with candidates: z (n, 4, h, w), t (n,), its own predicted noise there, and the
    mean squared distance (n,) of the empty prompt's from it.
    """

    z: Tensor
    t: Tensor
    own: Tensor
    distance: Tensor


@torch.no_grad()
def probe_target(
    denoiser: Denoiser,
    alphas_cumprod: Tensor,
    target: Tensor,
    null: Tensor,
    *,
    shape: tuple[int, int, int],
    states: int,
    seed: int,
    guidance: float = 3.0,
    steps: int = 10,
) -> Probe | None:
    """``states`` points of the target's own DDIM sampling by the frozen model; target and null (77, d).

    None if the model draws the target like an empty prompt: nothing can be said then.
    """
    with denoiser.frozen():
        z, t = _trajectory_states(
            denoiser, alphas_cumprod, target, null, shape, states, seed, guidance=guidance, steps=steps
        )
        own = denoiser(z, t, target.expand(len(z), -1, -1))
        distance = (denoiser(z, t, null.expand(len(z), -1, -1)) - own).square().mean(dim=(1, 2, 3))
    if distance.mean() <= UNKNOWN * own.square().mean():
        return None
    return Probe(z, t, own, distance.cpu())


@torch.no_grad()
def compare(denoiser: Denoiser, probe: Probe, candidates: Tensor, *, threshold: float, rows: int = 32) -> Tensor:
    """s(c) of candidates (k, 77, d) by the frozen model, (k,) on the CPU.

    All are tried on two states; only those that come out below four times ``threshold`` are worth the others.
    """
    states = len(probe.z)
    first = torch.tensor(_spread(min(FIRST_LOOK, states), states))
    rest = torch.tensor([i for i in range(states) if i not in first.tolist()], dtype=torch.long)
    moved = torch.zeros(len(candidates), states)
    with denoiser.frozen():
        moved[:, first] = _moved(denoiser, probe, first, candidates, rows)
        difference = moved[:, first].mean(1) / probe.distance[first].mean()
        close = (difference < 4 * threshold).nonzero().flatten()
        if len(close) and len(rest):
            found = _moved(denoiser, probe, rest, candidates[close.to(candidates.device)], rows)
            moved[close.unsqueeze(1), rest.unsqueeze(0)] = found
            difference[close] = moved[close].mean(1) / probe.distance.mean()
    return difference


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

    Near 0: drawn just like the target; 1: as different as an empty prompt. All are infinite if the model draws
    the target itself like an empty prompt.
    """
    probe = probe_target(
        denoiser, alphas_cumprod, target, null, shape=shape, states=states, seed=seed, guidance=guidance, steps=steps
    )
    if probe is None:
        return torch.full((len(candidates),), float("inf"))
    return compare(denoiser, probe, candidates, threshold=threshold, rows=rows)


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


def _moved(denoiser: Denoiser, probe: Probe, states: Tensor, candidates: Tensor, rows: int) -> Tensor:
    """Mean squared difference to the target's noise per candidate and state, (k, states), ``rows`` at a time."""
    k, n = len(candidates), len(states)
    parts = []
    for chunk in torch.arange(k * n).split(rows):
        c, s = (chunk // n).to(probe.z.device), states[chunk % n].to(probe.z.device)
        eps = denoiser(probe.z[s], probe.t[s], candidates[c])
        parts.append((eps - probe.own[s]).square().mean(dim=(1, 2, 3)).cpu())
    return torch.cat(parts).view(k, n)
