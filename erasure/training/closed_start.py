"""Where training starts: an edit of cross-attention's values in closed form, which hurts all preserved words alike.

For every value matrix W the edit W D turns the token states c of what is erased into those of the anchor, a, as far as
preserved prompts allow it:

    D = argmin  E w_i || c_i + D c_i - a_i ||^2  +  mu E || D p ||^2  +  mu l || D ||^2
      = E[w (a - c) c^T] M^-1,    M = E[w c c^T] + mu (E[p p^T] + l I)

which is UCE's (Gandikota et al., WACV 2024, Eq. 7) with second moments that have a mean eigenvalue of 1, so that
neither the width nor the scale of the text encoder matters. What is new is the choice of p: two rounds of
multiplicative weights between D and an adversary, who gives more weight to those words that D moves most. It is a
closed form of the adversarial preservation that goes on in training (Bui et al., NeurIPS 2024), and costs no call of
the U-Net.

Only values are edited: keys edited alone leave the concept as it was, and edited along with values they add nothing.
The LoRA holds W D with the smallest rank that does it well; what is left of its rank starts as every LoRA does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import DOWN, UP, base_layers, lora_layers, lora_state, text_values
from erasure.model.model import Model
from erasure.training.closed_form import low_rank, pairs
from erasure.training.preserved_states import PreservedStates
from erasure.training.uce import edited_states

# mu and l of the formula, and the rounds of the adversary.
PRESERVE, PULL, ROUNDS = 8.0, 0.05, 2
# Weight of a target's other names, which its own carries along in part.
NAME_WEIGHT = 0.25
# The LoRA's rank is used up to where the edit is held with this relative error.
ERROR = 0.01


@torch.no_grad()
def closed_start(
    model: Model, space: ConceptSpace, config: EraseConfig, preserved: PreservedStates
) -> dict[str, Tensor]:
    """Return the LoRA's weights, as :func:`erasure.lora.adapter.lora_state` does, with the edit in its value layers.

    The weights of ``preserved`` become the adversary's last answer.
    """
    change, metric = edit_of_values(model, space, config, preserved)
    unet, scale = model.unet, config.alpha / config.rank
    base, state = base_layers(unet), lora_state(unet)
    for name in text_values(lora_layers(unet)):
        wanted = base[name].weight.detach().double().cpu() @ change / scale
        down, up, error = low_rank(wanted, config.rank, metric)
        used = _rank_needed(up.square().sum(0), error)
        state[name + DOWN][:used] = down[:used].to(state[name + DOWN])
        state[name + UP][:, :used] = up[:, :used].to(state[name + UP])
    return state


def _rank_needed(sizes: Tensor, error: float) -> int:
    """Return how many of the singular values ``sizes`` are needed; ``error`` is left by all of them together."""
    left = sizes.square().flip(0).cumsum(0).flip(0)  # from each one on
    whole = left[0] / (1 - error**2)
    return int((left + error**2 * whole > ERROR**2 * whole).sum())


def edit_of_values(
    model: Model, space: ConceptSpace, config: EraseConfig, preserved: PreservedStates
) -> tuple[Tensor, Tensor]:
    """Return D and M (d, d), float64 on the CPU."""
    edited = pairs(space, config)
    own_names = {target.target for target in space.targets}
    moments, moves = [], []
    for pair in edited:
        weight = 1.0 if pair.name in own_names else NAME_WEIGHT
        erased, anchors = (states.cpu() for states in edited_states(model, [pair]))
        moments.append(weight * erased @ erased.T)
        moves.append(weight * (anchors - erased) @ erased.T)
    moment, move = torch.stack(moments).sum(0), torch.stack(moves).sum(0)
    scale = moment.diagonal().mean().clamp_min(torch.finfo(moment.dtype).tiny)
    identity = torch.eye(len(moment), dtype=moment.dtype)
    for turn in range(ROUNDS + 1):
        metric = moment / scale + PRESERVE * (preserved.moment() + PULL * identity)
        change: Tensor = torch.linalg.solve(metric, (move / scale).T).T
        if turn < ROUNDS:
            preserved.reweigh(change)
    return change, metric
