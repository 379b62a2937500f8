"""Pictures from prompts, and how far two of them differ."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erasure.model.denoiser import Denoiser
from erasure.model.embedding import Embedder
from erasure.model.models import Models
from erasure.model.sampling import sampling_steps

_T = TypeVar("_T")


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn: DDIM ``steps``, classifier-free ``guidance``, side in ``pixels``, rows per batch."""

    steps: int = 20
    guidance: float = 5.0
    pixels: int = 0
    batch: int = 8


def draw_pictures(
    models: Models,
    denoiser: Denoiser,
    embedder: Embedder,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: Drawing = Drawing(),
) -> list[Image.Image]:
    """One picture per (prompt, seed) pair, as the U-Net is now: with its LoRA, or inside ``denoiser.frozen()`` without.

    The same seed starts from the same noise on every device.
    """
    return run_to_end(drawing_steps(models, denoiser, embedder, prompts, seeds, drawing))


def run_to_end(steps: Generator[Any, None, _T]) -> _T:
    """The generator's value; what it yields on the way is dropped."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


@torch.no_grad()
def drawing_steps(
    models: Models,
    denoiser: Denoiser,
    embedder: Embedder,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: Drawing = Drawing(),
) -> Generator[float, None, list[Image.Image]]:
    """:func:`draw_pictures`, giving the share that is done after every sampling step, so that it can be ended early."""
    side = drawing.pixels // models.vae_scale_factor if drawing.pixels else models.sample_size
    pictures = []
    null = embedder([""])[0]
    batches = range(0, len(prompts), drawing.batch)
    for number, start in enumerate(batches):
        chunk = slice(start, start + drawing.batch)
        noise = torch.stack([
            torch.randn((4, side, side), generator=torch.Generator().manual_seed(seed)) for seed in seeds[chunk]
        ])  # fmt: skip
        latents = noise.to(denoiser.device)
        steps = sampling_steps(
            denoiser,
            models.alphas_cumprod,
            embedder(prompts[chunk]),
            null,
            latents,
            steps=drawing.steps,
            guidance=drawing.guidance,
        )
        for done, z in enumerate(steps, start=1):
            latents = z
            yield (number + done / drawing.steps) / len(batches)
        pictures += [decode(models, latent) for latent in latents]
    return pictures


@torch.no_grad()
def decode(models: Models, latent: Tensor) -> Image.Image:
    """The picture of clean latents (4, h, w). One at a time: decoding needs more memory than the U-Net."""
    scaled = (latent[None] / models.vae.config.scaling_factor).to(models.vae.dtype)
    pixels = models.vae.decode(scaled).sample[0].float()
    levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, in levels of 0..255."""
    a, b = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (one, other))
    return float(np.abs(a - b).mean())
