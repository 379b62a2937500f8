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

    def map(self) -> Tensor:
        """Return the attention (b, heads, positions, tokens), fp32, which sums to 1 over the tokens.

        Computed anew at every call, since the maps of all layers together take much memory. Raises: ValueError if the
        U-Net has not been called.
        """
        if self.query is None or self.key is None:
            raise ValueError("the U-Net has not been called since its attention is watched; call it first")
        query, key = (part.float().unflatten(-1, (self.layer.heads, -1)) for part in (self.query, self.key))
        attention: Tensor = (torch.einsum("bphd,bthd->bhpt", query, key) * self.layer.scale).softmax(-1)
        return attention


@contextmanager
def watched_cross_attention(unet: UNet2DConditionModel, positions: int = 0) -> Iterator[list[WatchedLayer]]:
    """Watch all cross-attention layers inside the block, in module order; they are filled by a call of the U-Net.

    ``positions``: how many queries of each row are kept at most, evenly spaced; 0 = all.

    The LoRA's part in queries and keys is included. Hooks are used, since kernels such as torch's never hold a map; the
    U-Net's output is what it is without them. Go backward outside of the block: gradient checkpointing then runs the
    layers again, which must not be taken for another call.
    """
    watched = [WatchedLayer(name, module) for name, module in unet.named_modules() if name.endswith(".attn2")]
    hooks = [_hook(each.layer.to_q, each, "query", positions) for each in watched]
    hooks += [_hook(each.layer.to_k, each, "key", 0) for each in watched]
    try:
        yield watched
    finally:
        for hook in hooks:
            hook.remove()


def _hook(module: nn.Module, watched: WatchedLayer, part: str, most: int) -> Any:
    """Keep what ``module`` returns as that ``part`` of the layer, of ``most`` positions (0: of all)."""

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        every = -(-output.shape[1] // most) if most else 1
        # Copied, so that the rest can be freed.
        setattr(watched, part, output[:, ::every].clone() if every > 1 else output)

    return module.register_forward_hook(keep)
