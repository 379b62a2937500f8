"""Starts a wider U-Net from the weights of a narrow one, so that it draws from its first step on.

Exact where every level is wider by the same whole number (:meth:`Width.repeats`). Otherwise the norms see channels
repeated unequally often, and some frequencies of the time embedding have no counterpart: then the wide U-Net computes
about the same. How near it is, a test and ``making/README.md`` say.
"""

from __future__ import annotations

import re

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from emoji_sd.making.repetition import by_heads, evenly, query_scale, side_by_side, widen
from emoji_sd.making.width import Width

NOISE = 0.05
"""Noise on the start, relative to each weight's deviation: without it, repeated channels would never differ."""


@torch.no_grad()
def widened_unet(
    unet: UNet2DConditionModel, narrow: Width, wide: Width, *, noise: float = NOISE
) -> UNet2DConditionModel:
    """Return a U-Net of width ``wide`` that computes what ``unet``, of width ``narrow``, does.

    It reads text states that ``wide.text_map()`` maps, while ``narrow`` reads the trained ones. ``noise``: deviation of
    what is added to each weight matrix, relative to its own; drawn from torch's generator.
    """
    widened = UNet2DConditionModel(**wide.unet_config())
    weights = unet.state_dict()
    for name, parameter in widened.named_parameters():
        weight = _widened(name, weights, parameter, narrow, wide)
        if noise and weight.dim() > 1:
            weight = weight + noise * weight.std() * torch.randn(weight.shape)
        parameter.copy_(weight)
    return widened


def _widened(name: str, weights: dict[str, Tensor], target: Tensor, narrow: Width, wide: Width) -> Tensor:
    """Return the wide weight (or vector) ``name``, shaped like ``target``."""
    if name not in weights:
        return _new_shortcut(target, narrow)
    weight = weights[name]
    writes = evenly(len(weight), len(target))
    joined = re.match(r"up_blocks\.(\d)\.resnets\.(\d)\.(norm1|conv1|conv_shortcut)\.", name)
    below_and_skip = _joined(int(joined[1]), int(joined[2]), narrow, wide) if joined else None
    if weight.dim() == 1:
        return widen(
            weight, below_and_skip if joined and joined[3] == "norm1" and below_and_skip is not None else writes
        )
    reads = evenly(weight.shape[1], target.shape[1]) if below_and_skip is None else below_and_skip
    if name == "time_embedding.linear_1.weight":
        return widen(weight, writes) @ _frequencies(weight.shape[1], target.shape[1])
    if ".to_out.0." in name:
        return widen(weight, writes, by_heads(weight.shape[1], narrow.heads, target.shape[1], wide.heads))
    if not re.search(r"\.to_[qkv]\.", name):
        return widen(weight, writes, reads)
    inner = by_heads(len(weight), narrow.heads, len(target), wide.heads)
    if re.search(r"attn2\.to_[kv]\.", name):
        return widen(weight, inner) @ wide.text_map().T
    scale = query_scale(inner, narrow.heads, wide.heads)[:, None] if ".to_q." in name else 1
    return widen(weight, inner, reads) * scale


def _joined(block: int, layer: int, narrow: Width, wide: Width) -> Tensor:
    """Return the map of what a layer on the way up reads: what comes from below, beside a skip connection."""
    levels = [*zip(narrow.channels, wide.channels, strict=True)][::-1]
    below = levels[max(block - 1, 0)] if layer == 0 else levels[block]
    skip = levels[min(block + 1, 3)] if layer == 2 else levels[block]
    return side_by_side(below, skip)


def _frequencies(narrow: int, wide: int) -> Tensor:
    """Return the matrix (narrow, wide) that reads the narrow time embedding from the wide one.

    If ``wide`` is a multiple of ``narrow``, the wide embedding has all frequencies of the narrow one. Otherwise least
    squares over the 1000 time steps come near them.
    """
    if wide % narrow == 0:
        return torch.eye(narrow).repeat_interleave(wide // narrow, 1) * (torch.arange(wide) % (wide // narrow) == 0)
    t = torch.arange(1000)
    own, more = (get_timestep_embedding(t, n, True, 0).double() for n in (narrow, wide))
    # Neighbouring frequencies are nearly the same, and would get huge weights of opposite sign without a cutoff.
    solution: Tensor = torch.linalg.lstsq(more, own, rcond=1e-2, driver="gelsd").solution
    return solution.T.float()


def _new_shortcut(target: Tensor, narrow: Width) -> Tensor:
    """Return a shortcut that only the wide U-Net has, since there a level is wider than the one before it.

    In ``narrow`` both levels are equally wide, and the shortcut is the identity.
    """
    if target.dim() == 1:
        return torch.zeros_like(target)
    own = narrow.channels[-1]
    return widen(torch.eye(own), evenly(own, len(target)), evenly(own, target.shape[1]))[:, :, None, None]
