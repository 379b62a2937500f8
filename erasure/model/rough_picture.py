"""Pictures of latents without a VAE: small and blurred, with colours about right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor


def rough_picture(latent: Tensor, colours: Sequence[Sequence[float]], enlarged: int) -> Image.Image:
    """Return a picture of clean latents (c, h, w), ``enlarged`` times as wide and high.

    ``colours``: (c + 1, 3), see ``latent_colours`` of :class:`erasure.families.family.Family`.
    """
    channels, table = latent.float().cpu(), torch.tensor(colours)
    levels = torch.einsum("chw,cr->hwr", channels, table[:-1]) + table[-1]
    levels = ((levels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    small = Image.fromarray(levels.numpy())
    return small.resize((small.width * enlarged, small.height * enlarged), Image.Resampling.BILINEAR)
