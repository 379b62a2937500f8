"""Merges several LoRA files into one."""

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
