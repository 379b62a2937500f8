"""The scale that keeps fp16 gradients from vanishing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def search_scale(dtype: torch.dtype, z: Tensor) -> float:
    """Return by what a search multiplies the mean over one of the latents z (b, c, h, w) before it goes backward.

    As many as it has values, so that the share of one in the mean does not vanish; 1 where nothing would.
    """
    return float(z[0].numel()) if dtype == torch.float16 else 1.0


def gradient_scaler(dtype: torch.dtype, device: torch.device) -> Any:
    """torch's GradScaler, enabled for fp16: gradients of a mean over many pixels would vanish there without a scale."""
    enabled = dtype == torch.float16
    if not hasattr(torch.amp, "GradScaler"):  # torch 2.1 and 2.2
        return torch.cuda.amp.GradScaler(init_scale=2.0**12, enabled=enabled and device.type == "cuda")
    return torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=enabled)


def moved_scaler(scaler: Any, device: torch.device) -> Any:
    """A scaler for another device with the same scale, which the old one holds in a tensor."""
    if not scaler.is_enabled():
        return scaler
    new: Any = torch.amp.GradScaler(device.type) if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler()
    new.load_state_dict(scaler.state_dict())
    return new
