"""Prepares pictures for a recognition network: resized, cropped to the middle square, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Preparation:
    """How a network was trained to see pictures.

    The shorter side is resized to ``resize`` px and the middle ``side`` px are kept; each channel, in [0, 1], is
    normalised with its ``mean`` and ``deviation``.
    """

    resize: int
    side: int
    resampling: Image.Resampling
    mean: Colour
    deviation: Colour


def prepare(pictures: Sequence[Image.Image], how: Preparation) -> Tensor:
    """Return pictures of any shape as (n, 3, side, side)."""
    arrays = []
    for picture in pictures:
        scale = how.resize / min(picture.size)
        size = (max(how.resize, round(picture.width * scale)), max(how.resize, round(picture.height * scale)))
        small = picture.convert("RGB").resize(size, how.resampling)
        left, top = (small.width - how.side) // 2, (small.height - how.side) // 2
        arrays.append(np.asarray(small.crop((left, top, left + how.side, top + how.side)), dtype=np.float32))
    levels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255
    return (levels - torch.tensor(how.mean).view(3, 1, 1)) / torch.tensor(how.deviation).view(3, 1, 1)
