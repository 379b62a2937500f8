"""Pictures from prompts, and how far two of them differ."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erasure.model.draw_settings import DRAW_SETTINGS, DrawSettings
from erasure.model.model import Model

_T = TypeVar("_T")


def draw_pictures(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: DrawSettings = DRAW_SETTINGS,
) -> list[Image.Image]:
    """One picture per (prompt, seed) pair, as the U-Net is now: with its LoRA, or inside ``model.frozen()`` without.

    The same seed starts from the same noise on every device.
    """
    return run_to_end(drawing_steps(model, prompts, seeds, drawing))


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
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: DrawSettings = DRAW_SETTINGS,
) -> Generator[float, None, list[Image.Image]]:
    """:func:`draw_pictures`, giving the share that is done after every sampling step, so that it can be ended early."""
    pictures = []
    model.embed([""])  # alone, so that its rounding does not depend on what it is embedded with
    batches = range(0, len(prompts), drawing.batch)
    for number, start in enumerate(batches):
        chunk = slice(start, start + drawing.batch)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[chunk]]
        # On the CPU between steps: whoever asks for the next one may have moved the model meanwhile.
        z = torch.stack([model.noise(generator, drawing.pixels).cpu() for generator in generators])
        for i in range(drawing.steps):
            z = _next(model, z, i, prompts[chunk], drawing)
            yield (number + (i + 1) / drawing.steps) / len(batches)
        pictures += [model.decode(latent) for latent in z]
    return pictures


def _next(model: Model, z: Tensor, i: int, prompts: Sequence[str], drawing: DrawSettings) -> Tensor:
    """The latents after step i, on the CPU like those before it."""
    z, conditioning, null = z.to(model.device), model.embed(prompts), model.embed([""])
    return model.sample_step(z, i, conditioning, null, steps=drawing.steps, guidance=drawing.guidance).cpu()


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, in levels of 0..255."""
    a, b = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (one, other))
    return float(np.abs(a - b).mean())
