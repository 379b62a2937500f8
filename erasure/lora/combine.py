"""Merges several LoRA files into one, as a whole or for one layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from erasure.lora.file import LoraFile
from erasure.lora.kind import DOWN, UP


def merge_loras(files: Sequence[tuple[LoraFile, float]]) -> LoraFile:
    """Return one LoRA with the effect of several (at least one), each at its weight, together.

    Their ranks are concatenated, and scales and weights are multiplied into ``up``.
    """
    parts: dict[str, list[torch.Tensor]] = {}
    for file, weight in files:
        for module in file.modules:
            down, up, scale = file.weights(module)
            parts.setdefault(f"{module}.{DOWN}", []).append(down.float())
            parts.setdefault(f"{module}.{UP}", []).append(up.float() * (scale * weight))
    state = {key: torch.cat(tensors, dim=0 if key.endswith(DOWN) else 1) for key, tensors in parts.items()}
    names = " + ".join(file.path.name for file, _ in files)
    return LoraFile(Path(names), files[0][0].family, state, {}, {}, torch.float32)


def summed_change(
    files: Sequence[tuple[LoraFile, float]], module: str, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return what several LoRAs, each at its weight, together add to the weights of one layer, as two factors.

    ``module``: as in the files, ``lora_unet_conv_in``. The change is ``up @ down`` with ``up`` (out, R) and ``down``
    (R, in * k * k), R being the sum of their ranks; scales and weights are in ``up``. None if no file changes the
    layer.
    Raises: ValueError if they are for layers of different sizes.
    """
    ups, downs = [], []
    for file, weight in files:
        if f"{module}.{DOWN}" not in file.state:
            continue
        down, up, scale = file.weights(module)
        downs.append(down.to(dtype).flatten(1))
        ups.append(up.to(dtype).flatten(1) * (scale * weight))
    if not ups:
        return None
    if len({(up.shape[0], down.shape[1]) for up, down in zip(ups, downs, strict=True)}) > 1:
        raise ValueError(f"the files are for layers {module} of different sizes")
    return torch.cat(ups, dim=1), torch.cat(downs)
