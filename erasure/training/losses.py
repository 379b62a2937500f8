"""The two losses of adversarial preservation (Bui et al. 2024, Eq. 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from erasure.config.settings import LossSpace
from erasure.model.conditioning import Conditioning
from erasure.model.model import Model
from erasure.training.gradient_scale import search_scale

MIN_SNR_GAMMA = 5.0


def erase_goal(eps_anchor: Tensor, eps_target: Tensor, guidance: float, eps_from: Tensor | None = None) -> Tensor:
    """What the erased concept should predict: eps(c_n) - g (eps(c_e) - eps(c_n)), all by the frozen model.

    With g = 0 this is the anchor's own prediction (Eq. 3); g = 1 is the target of ESD and of the published code.
    ``eps_from``: the concept's direction is taken from there instead, from eps("") in LECO.
    """
    return eps_anchor - guidance * (eps_target - (eps_anchor if eps_from is None else eps_from))


def prediction_loss(eps: Tensor, goal: Tensor, alpha_bar: Tensor, space: LossSpace) -> Tensor:
    """Mean squared difference per row, (b,), of predicted noise or of the clean latents it implies.

    eps, goal: (b, c, h, w); alpha_bar: (b,). x0 = (z - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar), so for one z_t
    the x0 difference is the eps difference weighted by (1 - alpha_bar) / alpha_bar. min_snr: that of eps weighted by
    min(5 / SNR, 1) with SNR = alpha_bar / (1 - alpha_bar) (Hang et al. 2023, Eq. 8 in eps).
    """
    loss = (eps - goal).square().mean(dim=(1, 2, 3))
    if space == "min_snr":
        return loss * (MIN_SNR_GAMMA * (1 - alpha_bar) / alpha_bar).clamp(max=1.0)
    return loss * (1 - alpha_bar) / alpha_bar if space == "x0" else loss


def harm_gradient(model: Model, z: Tensor, t: Tensor, conditioning: Conditioning, space: LossSpace) -> Conditioning:
    """The gradient of mean L2 = || eps_theta'(c) - eps_theta(c) ||^2 in c, for b prompts, through both branches.

    Both branches share one call of the U-Net, and go backward while the LoRA is off for one of them, as gradient
    checkpointing needs. Only the gradient towards the conditioning is asked for: none of a weight is computed.
    """
    leaf = conditioning.leaf()
    with model.frozen_from(len(z)):
        eps = model.eps(torch.cat([z, z]), torch.cat([t, t]), Conditioning.cat([leaf, leaf]))
        tuned, frozen = eps.chunk(2)
        harm = prediction_loss(tuned, frozen, model.alphas_cumprod[t], space).mean()
        return leaf.gradient(harm, search_scale(model.dtype, z))
