"""The prompt near an erased concept from which the tuned model still draws it best: bounded descent in embedding space.

As in AdvUnlearn (Zhang et al., NeurIPS 2024, arXiv:2405.15234, Eq. 3): the prompt c* that minimises
|| eps_theta'(z_t, c*) - eps_theta(z_t, c_e) ||^2 is the one that attacks the erasure, and is erased next.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erasure.config.settings import LossSpace
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.gradient_scale import search_scale
from erasure.training.latents.source import LatentState, stack
from erasure.training.losses import prediction_loss

# The whole way is bounded by this share of the norm of the prompt's embedding.
RADIUS = 0.5


def hostile_prompts(
    model: Model,
    prompts: Sequence[Prompt],
    states: Sequence[LatentState],
    wanted: Tensor,
    space: LossSpace,
    *,
    steps: int,
    rate: float,
    radius: float = RADIUS,
    begin: Conditioning | None = None,
) -> list[Prompt]:
    """Return for each prompt the one near it that brings back best what the frozen model predicts.

    ``wanted`` (b, c, h, w): eps_theta(z_t, c) at the prompts' ``states``. A step moves by ``rate`` times the norm of
    the embedding. ``begin``: where the steps begin, if not at the prompts themselves. Takes ``steps`` calls of b rows,
    with gradients.
    """
    z, t = stack(states)
    start = Conditioning.cat([prompt.conditioning for prompt in prompts]).detach()
    moved = start if begin is None else begin.detach()
    for _ in range(steps):
        leaf = moved.leaf()
        with torch.enable_grad():
            loss = prediction_loss(model.eps(z, t, leaf), wanted, model.alphas_cumprod[t], space).sum()
        gradient = leaf.gradient(loss, search_scale(model.dtype, z))
        moved = moved.apply(lambda x, g, s: _stepped(x, g, s, rate, radius), gradient, start)
    return [
        Prompt(prompt.text, own, exact=not steps and begin is None and prompt.exact)
        for prompt, own in zip(prompts, moved, strict=True)
    ]


def _stepped(moved: Tensor, gradient: Tensor, start: Tensor, rate: float, radius: float) -> Tensor:
    """Return a step down, all (b, ...), at most ``radius`` away from the start; both in units of the start's norm."""
    norm = _norm(start)
    way = moved - start - rate * norm * gradient / _norm(gradient)
    return start + way * (radius * norm / _norm(way)).clamp(max=1.0)


def _norm(x: Tensor) -> Tensor:
    """Return the norm of each row of x (b, ...), as (b, 1, ...)."""
    norm: Tensor = x.flatten(1).norm(dim=1).clamp_min(1e-20)
    return norm.view(-1, *[1] * (x.dim() - 1))
