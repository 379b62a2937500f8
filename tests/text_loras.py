"""LoRA files for tests that change text encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from erasure.families.family import Family
from erasure.lora.file import write_lora
from erasure.lora.model_adapter import Modules, model_shapes


def of_text(path: str) -> bool:
    """Whether a layer is a text encoder's."""
    return path.startswith("text_encoder")


def text_lora(
    path: Path,
    modules: Modules,
    family: Family,
    wanted: Callable[[str], bool] = of_text,
    *,
    seed: int = 0,
    strength: float = 0.1,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a LoRA of rank 2 for the layers of a model that are ``wanted``, by their paths; all of text encoders."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer, (rows, *columns) in model_shapes(modules).items():
        if wanted(layer):
            ones = [1] * len(columns[1:])
            state[f"{layer}.lora_down.weight"] = torch.randn(2, *columns, generator=generator)
            state[f"{layer}.lora_up.weight"] = strength * torch.randn(rows, 2, *ones, generator=generator)
    write_lora(path, state, family=family, alpha=2.0, metadata=metadata or {}, dtype=torch.float32)
    return path
