"""Draws pictures for prompts, and measures how far two pictures differ."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erasure.model.draw_settings import DRAW_SETTINGS, DrawSettings
from erasure.model.model import Model
from erasure.model.rows import Purpose

_T = TypeVar("_T")
_Y = TypeVar("_Y")
_Told = TypeVar("_Told")


def draw_pictures(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: DrawSettings = DRAW_SETTINGS,
) -> list[Image.Image]:
    """Draw one picture per pair of prompt and seed, with the model's LoRA, or without it inside ``model.frozen()``.

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


def relayed(steps: Generator[_Y, None, _T], tell: Callable[[_Y], _Told]) -> Generator[_Told, None, _T]:
    """Run a generator on, yielding what ``tell`` makes of what it yields; return its value."""
    while True:
        try:
            told = next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        yield tell(told)


def counted_steps(
    model: Model, steps: Generator[float, None, _T], purpose: Purpose, *, frozen: bool = False
) -> Generator[float, None, _T]:
    """Run a drawing on, its rows counted for ``purpose``; ``frozen``: without the LoRA.

    Both are entered anew for every step: between two of them a run may pause, and a state saved then must hold the
    training rows, not these.
    """
    while True:
        with model.rows.purpose(purpose), model.frozen() if frozen else nullcontext():
            try:
                share = next(steps)
            except StopIteration as end:
                result: _T = end.value
                return result
        yield share


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
