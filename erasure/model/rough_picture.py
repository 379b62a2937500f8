"""Pictures of latents without a VAE: small and blurred, with colours about right."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

# Red, green and blue, from -1 to 1, that each of the four channels of SD 1.x latents adds, as fitted and published in
# discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204.
_COLOURS = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)


def rough_picture(latent: Tensor, enlarged: int) -> Image.Image:
    """Return a picture of clean latents (4, h, w), ``enlarged`` times as wide and high."""
    channels = latent.float().cpu()
    colours = torch.einsum("chw,cr->hwr", channels, torch.tensor(_COLOURS))
    levels = ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    small = Image.fromarray(levels.numpy())
    return small.resize((small.width * enlarged, small.height * enlarged), Image.Resampling.BILINEAR)
