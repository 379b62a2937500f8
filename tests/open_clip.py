"""A tiny text encoder as OpenCLIP builds it, from torch's own attention, with the names of the original layout."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        moved: Tensor = x + self.mlp(self.ln_2(x))
        return moved


class _Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.blocks = [_Block(width, heads) for _ in range(layers)]
        self.resblocks = nn.ModuleList(self.blocks)


class OpenClipText(nn.Module):
    """OpenCLIP's text encoder; ``projection``: width of the pooled text."""

    def __init__(self, *, width: int, layers: int, heads: int, projection: int, words: int = 49408, tokens: int = 77):
        super().__init__()
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(torch.randn(tokens, width) * 0.01)
        self.transformer = _Transformer(width, layers, heads)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, projection) * width**-0.5)
        self.logit_scale = nn.Parameter(torch.ones([]))
        for block in self.transformer.blocks:  # torch has zeros there, which would hide a mistake
            nn.init.normal_(block.attn.in_proj_bias, std=0.5)
            nn.init.normal_(block.attn.out_proj.bias, std=0.5)

    def states(self, ids: Tensor, *, skip: int = 0) -> Tensor:
        """Return the states (b, tokens, width) without the last ``skip`` layers, after the final layer norm."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        mask = torch.full((ids.shape[1], ids.shape[1]), -torch.inf).triu(1)
        blocks = self.transformer.blocks
        for block in blocks[: len(blocks) - skip]:
            x = block(x, mask)
        states: Tensor = self.ln_final(x)
        return states
