"""The number type in which models are trained and pictures encoded."""

from __future__ import annotations

import torch


def autocast(device: str) -> torch.autocast:
    """Return a context of bf16 where it is faster: on a GPU, and on a CPU with instructions for it.

    A CPU without them takes several times as long as in fp32, which it keeps then.
    """
    return torch.autocast(device, torch.bfloat16, enabled=device != "cpu" or _has_bf16())


def _has_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
