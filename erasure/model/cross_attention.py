"""How much each position of the picture looks at each token of its prompt, while the U-Net works as always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


@dataclass
class WatchedLayer:
    """A layer of cross-attention with what it made of its last input.

    ``name``: that of the module. ``query``: (b, positions, heads * d); ``key``: (b, tokens, heads * d). Both have a
    graph if the call had one.
    """

    name: str
    layer: Attention
    query: Tensor | None = None
    key: Tensor | None = None

    def map(self, positions: int = 0) -> Tensor:
        """Return the attention (b, heads, positions, tokens), fp32, which sums to 1 over the tokens.

        ``positions``: how many at most, evenly spaced; 0 = all. Computed anew at every call, since the maps of all
        layers together take much memory. Raises: ValueError if the U-Net has not been called.
        """
        if self.query is None or self.key is None:
            raise ValueError("the U-Net has not been called since its attention is watched; call it first")
        every = -(-self.query.shape[1] // positions) if positions else 1
        parts = (self.query[:, ::every], self.key)
        query, key = (part.float().unflatten(-1, (self.layer.heads, -1)) for part in parts)
        attention: Tensor = (torch.einsum("bphd,bthd->bhpt", query, key) * self.layer.scale).softmax(-1)
        return attention


@contextmanager
def watched_cross_attention(unet: UNet2DConditionModel) -> Iterator[list[WatchedLayer]]:
    """Watch all cross-attention layers inside the block, in module order; they are filled by a call of the U-Net.

    The LoRA's part in queries and keys is included. Hooks are used, since kernels such as torch's never hold a map; the
    U-Net's output is what it is without them. Go backward outside of the block: gradient checkpointing then runs the
    layers again, which must not be taken for another call.
    """
    watched = [WatchedLayer(name, module) for name, module in unet.named_modules() if name.endswith(".attn2")]
    hooks = [_hook(each.layer.to_q, each, "query") for each in watched]
    hooks += [_hook(each.layer.to_k, each, "key") for each in watched]
    try:
        yield watched
    finally:
        for hook in hooks:
            hook.remove()


def _hook(module: nn.Module, watched: WatchedLayer, part: str) -> Any:
    """Keep what ``module`` returns as that ``part`` of the layer."""
    return module.register_forward_hook(lambda module, inputs, output: setattr(watched, part, output))
