"""Measures synonyms: two prompts mean the same to a model if it predicts the same noise for both."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator as Steps
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.concepts.row_count import NOISES, ROWS_OF_A_CALL, STEPS, stages
from erasure.model.conditioning import Conditioning
from erasure.model.drawing import relayed, run_to_end
from erasure.model.model import Model
from erasure.model.sampling import ddim_timesteps

# A model whose prediction changes by less than this share for the target does not know it.
UNKNOWN = 1e-6


@dataclass(frozen=True)
class Probe:
    """The n states on which a target is compared with candidates.

    ``z`` (n, c, h, w), ``t`` (n,), the noise predicted for the target there (``own``), and the mean squared
    ``distance`` (n,) from it to the noise for the empty prompt.
    """

    z: Tensor
    t: Tensor
    own: Tensor
    distance: Tensor


@torch.no_grad()
def probe_target(
    model: Model, target: Conditioning, *, states: int, seed: int, guidance: float = 3.0, steps: int = STEPS
) -> Probe | None:
    """Sample the target with the frozen model and DDIM, and keep ``states`` states; ``target``: a batch of one.

    Returns None if the model draws the target like an empty prompt, as nothing can be compared then.
    """
    null = model.embed([""])
    with model.frozen():
        z, t = _trajectory_states(model, target, null, states, seed, guidance=guidance, steps=steps)
        own = model.eps(z, t, target.expand(len(z)))
        distance = (model.eps(z, t, null.expand(len(z))) - own).square().mean(dim=(1, 2, 3))
    if distance.mean() <= UNKNOWN * own.square().mean():
        return None
    return Probe(z, t, own, distance.cpu())


def compare(
    model: Model, probe: Probe, candidates: Conditioning, *, threshold: float, rows: int = ROWS_OF_A_CALL
) -> Tensor:
    """Do all of :func:`compare_steps` at once."""
    return run_to_end(compare_steps(model, probe, candidates, threshold=threshold, rows=rows))


def compare_steps(
    model: Model, probe: Probe, candidates: Conditioning, *, threshold: float, rows: int = ROWS_OF_A_CALL
) -> Steps[float, None, Tensor]:
    """Measure s(c) = E || eps(z_t, c) - eps(z_t, c_e) ||^2 / E || eps(z_t, "") - eps(z_t, c_e) ||^2 of k candidates.

    Returns (k,) on the CPU, of the frozen model: near 0 for a candidate that is drawn just like the target, 1 for one
    as different as an empty prompt. A race: all are compared on one state from the middle of the sampling, and those
    that are still :func:`near` the threshold on the first two, four and so on. Who stays to the end has the mean over
    all states; the others have a rough value, that of the states before they left. Yields the share that is done.
    """
    order, left = _order(len(probe.z)), torch.arange(len(candidates))
    moved = torch.zeros(len(candidates), len(probe.z))
    difference = torch.zeros(len(candidates))
    seen = 0
    for part, until in enumerate(parts := stages(len(probe.z))):
        new = torch.tensor(order[seen:until])
        steps = _moved(model, probe, new, candidates[left.to(probe.z.device)], rows)
        moved[left.unsqueeze(1), new.unsqueeze(0)] = yield from relayed(steps, _part_of(part, len(parts)))
        seen = until
        difference[left] = moved[left][:, order[:seen]].mean(1) / probe.distance[order[:seen]].mean()
        left = left[near(difference[left], threshold, seen)]
        if not len(left):
            break
    yield 1.0
    return difference


def near(difference: Tensor, threshold: float, states: int) -> Tensor:
    """Return which values of s(c), from so many states, may be below the threshold on all: (k,), bool.

    The more states, the surer: up to twice the threshold on one, one and a half times on two, and so on. On all three
    miniatures, of all words that are below the threshold on six states, none was left out on the way.
    """
    return difference < (1 + 1 / states) * threshold


def _order(states: int) -> list[int]:
    """Return all states in the order in which they are taken: from the middle outward, so that the first two are of
    both noises."""
    return sorted(range(states), key=lambda i: (abs(i - states // 2), -i))


def _part_of(part: int, parts: int) -> Callable[[float], float]:
    return lambda share: (part + share) / parts


def _trajectory_states(
    model: Model, target: Conditioning, null: Conditioning, states: int, seed: int, *, guidance: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Return z (states, c, h, w) and t (states,), spread evenly over samplings from two noises, noisiest first."""
    generator = Generator().manual_seed(seed)
    z = torch.randn((NOISES, *model.latent_shape), generator=generator).to(model.device)
    timesteps = ddim_timesteps(steps, model.train_steps)
    wanted = _spread(states, steps)
    found: list[tuple[Tensor, int]] = []
    for i in range(max(wanted) + 1):
        # The noises take turns.
        found += [(z[len(found) % NOISES], timesteps[i])] * wanted.count(i)
        z = model.sample_step(z, i, target.expand(NOISES), null, steps=steps, guidance=guidance)
    return torch.stack([z for z, _ in found]), torch.tensor([t for _, t in found], device=model.device)


def _spread(count: int, total: int) -> list[int]:
    """Return ``count`` of the indices 0 to total-1, spread evenly over noisy and clean states."""
    return [int((i + 0.5) * total / count) for i in range(count)]


def _moved(
    model: Model, probe: Probe, states: Tensor, candidates: Conditioning, rows: int
) -> Steps[float, None, Tensor]:
    """Return the mean squared difference to the target's noise, (k, states), computed ``rows`` at a time.

    Yields the share that is done.
    """
    k, n = len(candidates), len(states)
    parts = []
    for chunk in torch.arange(k * n).split(rows):
        c, s = (chunk // n).to(probe.z.device), states[chunk % n].to(probe.z.device)
        with torch.no_grad(), model.frozen():
            eps = model.eps(probe.z[s], probe.t[s], candidates[c])
        parts.append((eps - probe.own[s]).square().mean(dim=(1, 2, 3)).cpu())
        yield (int(chunk[-1]) + 1) / (k * n)
    return torch.cat(parts).view(k, n)
