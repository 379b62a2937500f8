"""Widens the trained text encoder so that it gives SD 1.x's 768 states, exactly.

The wide states are Q times the narrow ones (:meth:`Width.text_map`). CLIP ends in a layer norm, whose gain and shift
act on single channels, so a dense Q has no place in it. But a Q that repeats every channel eight times, in a shuffled
order and with signs, has: within the encoder all channels are repeated, which leaves every layer norm's mean and
variance as they were, and the last norm's gain and shift carry the signs and the factor that makes Q's columns
orthonormal.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from emoji_sd.making.repetition import by_heads, evenly, query_scale, widen
from emoji_sd.making.width import TEXT_STATES, Width, spread_states

HEADS = 12
"""Attention heads of the wide encoder, as in SD 1.x's. It keeps its four layers, since more would add nothing."""
MLP = 4
"""Width of the inner layer of CLIP's MLPs, relative to the states."""


@torch.no_grad()
def widened_text_encoder(narrow: CLIPTextModel, width: Width) -> CLIPTextModel:
    """Return a text encoder whose states are those of ``narrow`` times ``width.text_map()``.

    Where the width is that of ``narrow``, it returns ``narrow`` itself.
    """
    if width.context == TEXT_STATES:
        return narrow
    sizes = dict.fromkeys(("hidden_size", "projection_dim"), width.context)
    config = {
        **narrow.config.to_dict(),
        **sizes,
        "intermediate_size": MLP * width.context,
        "num_attention_heads": HEADS,
    }
    wide = CLIPTextModel(CLIPTextConfig.from_dict(config))
    weights, heads = narrow.state_dict(), (narrow.config.num_attention_heads, HEADS)
    for name, parameter in wide.named_parameters():
        parameter.copy_(_widened(name, weights[name], width, heads))
    return wide.eval()


def _widened(name: str, weight: Tensor, width: Width, heads: tuple[int, int]) -> Tensor:
    """Return the wide weight (or vector) ``name``; ``heads``: of the narrow and of the wide encoder."""
    states, signs = spread_states(width.context)
    if name.endswith("embedding.weight"):
        return weight[:, states]
    if "final_layer_norm" in name:
        scaled: Tensor = weight[states] * signs * (TEXT_STATES / width.context) ** 0.5
        return scaled
    inner = evenly(MLP * TEXT_STATES, MLP * width.context)
    attended = by_heads(TEXT_STATES, heads[0], width.context, heads[1])
    writes = {"fc1": inner, "q_proj": attended, "k_proj": attended, "v_proj": attended}
    reads = {"fc2": inner, "out_proj": attended}
    layer = name.split(".")[-2]
    wide = widen(weight, writes.get(layer, states), reads.get(layer, states) if weight.dim() > 1 else None)
    if layer == "q_proj":
        scale = query_scale(attended, *heads)
        return wide * (scale[:, None] if weight.dim() > 1 else scale)
    return wide
