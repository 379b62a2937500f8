"""FID (Heusel et al. 2017): how far one set of pictures is from another. Computed by torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from erasure.errors import EvaluationError
from erasure.evaluate.extras import need, need_weights, torch_cache

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
Pictures = Sequence[Image.Image] | Sequence[Callable[[], Image.Image]]
"""Pictures, or functions that open them, so that only a batch is in memory."""


@torch.no_grad()
def frechet_distance(
    real: Pictures,
    drawn: Pictures,
    *,
    features: nn.Module | None = None,
    weights: Path | None = None,
    side: int = 299,
    device: str = "cpu",
    batch: int = 32,
) -> float:
    """Return the FID between two sets of pictures, each resized to ``side`` x ``side``.

    ``features`` maps pictures (n, 3, side, side) uint8 to features (n, d). By default it is Inception v3, as in the
    original, with weights from ``weights`` or torch's cache.

    Raises: MissingExtra if a package or the weights are missing; EvaluationError if a set has fewer than two pictures.
    """
    if len(real) < 2 or len(drawn) < 2:
        raise EvaluationError(
            f"FID compares two sets of at least 2 pictures each, but was given {len(real)} and {len(drawn)}"
        )
    metric_class = need("torchmetrics.image.fid", "metrics").FrechetInceptionDistance
    if features is None:
        metric = metric_class(feature_extractor_weights_path=str(weights or inception_weights()))
    else:
        metric = metric_class(feature=features, input_img_size=(3, side, side))
    metric = metric.to(device)
    for pictures, is_real in ((real, True), (drawn, False)):
        for levels in _batches(pictures, side, batch):
            metric.update(levels.to(device), real=is_real)
    return float(metric.compute())


def inception_weights() -> Path:
    """Return the weights file in torch's cache. Raises: MissingExtra if it, or a package that FID needs, is missing."""
    need("torchmetrics.image.fid", "metrics")
    need("torch_fidelity", "metrics")
    return need_weights(torch_cache(WEIGHTS), "FID", "github.com/toshas/torch-fidelity/releases (v0.2.0)")


def _batches(pictures: Pictures, side: int, batch: int) -> Iterator[Tensor]:
    """Yield the pictures as (n, 3, side, side) uint8."""
    for start in range(0, len(pictures), batch):
        chunk = [p() if callable(p) else p for p in pictures[start : start + batch]]
        arrays = [np.asarray(p.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)) for p in chunk]
        yield torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
