"""What layers of the U-Net read while it samples, as second moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn

from erasure.model.model import Model


@torch.no_grad()
def input_moments(
    model: Model, layers: Mapping[str, nn.Module], prompts: Sequence[str], seed: int, steps: int
) -> dict[str, Tensor]:
    """Return E[x x^T] (d, d), float64 on the CPU, of the vectors x that each layer reads while prompts are sampled.

    ``layers``: Linear ones by any name, which the U-Net calls, or which stand in front of those that it calls. The
    prompts are sampled together, each from a noise of its own that ``seed`` gives, in ``steps`` DDIM steps without
    guidance: a row per prompt and step, all of them with the prompt.
    """
    noise = torch.stack([model.noise(Generator().manual_seed(seed + number)) for number in range(len(prompts))])
    with _watched(layers) as moments:
        model.sample(model.embed(prompts), noise, steps=steps, guidance=1.0)
    return {name: total / count for name, (total, count) in moments.items()}


@contextmanager
def _watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """Give for each layer the sum of x x^T over all vectors x that it read inside the block, and their number."""
    found: dict[str, tuple[Tensor, int]] = {}

    def watch(name: str) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().float().flatten(0, -2)
            total, count = found.get(name, (torch.zeros((), dtype=torch.float64), 0))
            found[name] = total + (x.T @ x).double().cpu(), count + len(x)

        return add

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
