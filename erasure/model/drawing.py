"""Draws pictures for prompts, and measures how far two pictures differ."""

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
    """Draw one picture per pair of prompt and seed, with the U-Net's LoRA, or without it inside ``model.frozen()``.

    The same seed gives the same noise on every device.
    """
    return run_to_end(drawing_steps(model, prompts, seeds, drawing))


def run_to_end(steps: Generator[Any, None, _T]) -> _T:
    """Run a generator to its end and return its value; what it yields is ignored."""
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
    """Draw like :func:`draw_pictures`, yielding the share done after every sampling step, so that it can be stopped."""
    latents = yield from latent_steps(model, prompts, seeds, drawing)
    return [model.decode(latent) for latent in latents]


@torch.no_grad()
def latent_steps(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: DrawSettings = DRAW_SETTINGS,
) -> Generator[float, None, Tensor]:
    """Sample at least one prompt like :func:`drawing_steps`, but return the clean latents (n, c, h, w) on the CPU."""
    latents = []
    model.embed([""])  # alone, so that its rounding does not depend on other prompts in its batch
    batches = range(0, len(prompts), drawing.batch)
    for number, start in enumerate(batches):
        chunk = slice(start, start + drawing.batch)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[chunk]]
        # On the CPU between steps, as the model may be moved to another device in between.
        z = torch.stack([model.noise(generator, drawing.pixels).cpu() for generator in generators])
        for i in range(drawing.steps):
            z = _next(model, z, i, prompts[chunk], drawing)
            yield (number + (i + 1) / drawing.steps) / len(batches)
        latents.append(z)
    return torch.cat(latents)


def _next(model: Model, z: Tensor, i: int, prompts: Sequence[str], drawing: DrawSettings) -> Tensor:
    """Return the latents after step i, on the CPU like those before it."""
    z, conditioning, null = z.to(model.device), model.embed(prompts), model.embed([""])
    return model.sample_step(z, i, conditioning, null, steps=drawing.steps, guidance=drawing.guidance).cpu()


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean absolute difference of two pictures of the same size, in levels 0 to 255."""
    a, b = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (one, other))
    return float(np.abs(a - b).mean())
