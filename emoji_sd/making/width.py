"""How wide a U-Net of emoji-SD is, and the text states that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

TEXT_STATES = 96
"""Width of the text states that the trained text encoder gives."""


@dataclass(frozen=True)
class Width:
    """The sizes that change with ``--channels``; everything else is the same in every variant.

    ``channels``: of the four levels, the finest first; ``heads``: attention heads on every level; ``context``: width of
    the text states that cross-attention reads.
    """

    channels: tuple[int, int, int, int]
    heads: int
    context: int

    @property
    def factor(self) -> float:
        """How much wider the finest level is than that of the model that ships."""
        return self.channels[0] / SHIPPED.channels[0]

    def repeats(self, narrow: Width) -> bool:
        """Tell whether every level is wider than in ``narrow`` by the same whole number: then widening is exact."""
        ratios = {wide / own for wide, own in zip(self.channels, narrow.channels, strict=True)}
        return len(ratios) == 1 and ratios.pop().is_integer()

    def unet_config(self) -> dict[str, object]:
        """Return the arguments of diffusers' ``UNet2DConditionModel``."""
        return {
            "sample_size": 16,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": list(self.channels),
            "layers_per_block": 2,
            "cross_attention_dim": self.context,
            # In SD 1.x this field holds the number of heads.
            "attention_head_dim": self.heads,
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        }

    def run_folder(self, work: Path) -> Path:
        """Return where the U-Net of this width is trained: ``run`` for the one that ships, else ``run-<channels>``."""
        return work / ("run" if self == SHIPPED else f"run-{self.channels[0]}")

    def text_map(self) -> Tensor:
        """Return the fixed map Q (``context``, 96) from the trained text states to those that the U-Net reads.

        Its columns are orthonormal, so that it keeps lengths and angles. Where the widths are the same, it is the
        identity.
        """
        if self.context == TEXT_STATES:
            return torch.eye(TEXT_STATES)
        sources, signs = spread_states(self.context)
        q = torch.zeros(self.context, TEXT_STATES)
        q[torch.arange(self.context), sources] = signs * (TEXT_STATES / self.context) ** 0.5
        return q


SHIPPED = Width((64, 128, 128, 128), heads=4, context=TEXT_STATES)
FULL = Width((320, 640, 1280, 1280), heads=8, context=768)
WIDTHS: dict[int, Width] = {
    64: SHIPPED,
    96: Width((96, 192, 192, 192), heads=4, context=TEXT_STATES),
    128: Width((128, 256, 256, 256), heads=4, context=TEXT_STATES),
    320: FULL,
}
"""By the channels of the finest level; the last is SD 1.x's own width."""


def spread_states(wide: int) -> tuple[Tensor, Tensor]:
    """Draw, with a fixed seed, which of the 96 text states each of ``wide`` ones repeats, and its sign (+1 or -1).

    Every state is repeated equally often, which leaves mean and variance as they were: that is why a text encoder that
    holds this map computes the same in its layer norms.
    """
    generator = torch.Generator().manual_seed(500)
    order = torch.randperm(wide, generator=generator)
    signs = torch.randint(0, 2, (wide,), generator=generator) * 2.0 - 1
    return (torch.arange(wide) % TEXT_STATES)[order], signs
