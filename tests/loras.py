"""LoRA files for tests, with random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from erasure.families.family import Family
from erasure.families.sd1 import SD1
from erasure.lora.file import write_lora
from erasure.lora.metadata import CONFIG_KEY
from erasure.lora.model_adapter import model_layers
from tests.tiny import build_tiny_models


def random_lora(
    path: Path,
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    *,
    strength: float = 0.5,
    unet: nn.Module | None = None,
    modules: Mapping[str, nn.Module] | None = None,
    layers: tuple[str, ...] = ("attn2.to_k", "attn2.to_v"),
    family: Family = SD1,
    alpha: float = 2.0,
) -> Path:
    """Write a LoRA of rank 2 for cross-attention of a U-Net, None for that of the tiny model. ``config``: what it says
    of itself; ``modules``: of a whole model, in place of the U-Net; ``layers``: what the names of its layers end with;
    ``alpha``: of every layer."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, module in model_layers(modules or {"": unet or build_tiny_models().unet}).items():
        if isinstance(module, nn.Linear) and name.endswith(layers):
            rows, columns = module.weight.shape
            state[f"{name}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
            state[f"{name}.lora_up.weight"] = strength * torch.randn(rows, 2, generator=generator)
    told = {} if config is None else {CONFIG_KEY: json.dumps(config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lora(path, state, family=family, alpha=alpha, metadata={**told, **(metadata or {})}, dtype=torch.float32)
    return path
