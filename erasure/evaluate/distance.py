"""LPIPS (Zhang et al. 2018): how different pictures look to people. Computed by torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erasure.errors import EvaluationError
from erasure.evaluate.extras import need, need_weights, torch_cache

Network = Literal["alex", "vgg", "squeeze"]
WEIGHTS: dict[Network, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


class Lpips:
    """Measures the distance between pictures of one size; equal pictures have distance 0."""

    def __init__(self, network: Network = "alex", *, device: str = "cpu"):
        """Load the network. Raises: MissingExtra if torchmetrics, torchvision or the network's weights are missing."""
        need("torchvision", "metrics")
        lpips = need("torchmetrics.image.lpip", "metrics").LearnedPerceptualImagePatchSimilarity
        need_weights(torch_cache(WEIGHTS[network]), f"LPIPS ({network})", "download.pytorch.org/models")
        self._metric = lpips(net_type=network, normalize=True).to(device)
        self._device = device

    @torch.no_grad()
    def __call__(self, before: Sequence[Image.Image], after: Sequence[Image.Image]) -> list[float]:
        """Return one distance per pair. Raises: EvaluationError if the pictures of a pair differ in size."""
        found = []
        for one, other in zip(before, after, strict=True):
            if one.size != other.size:
                raise EvaluationError(
                    f"LPIPS compares pictures of one size, but these have {one.size} and {other.size}"
                )
            found.append(float(self._metric(_levels(one, self._device), _levels(other, self._device))))
            self._metric.reset()
        return found


def _levels(picture: Image.Image, device: str) -> Tensor:
    """Return a picture as (1, 3, h, w) in [0, 1]."""
    array = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1)[None].to(device)
