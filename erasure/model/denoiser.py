"""The U-Net as a function: noisy latents, timestep and text embedding in, predicted noise out; every row counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from erasure.config.settings import Precision
from erasure.lora.adapter import without_lora, without_lora_from

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Rows:
    """U-Net rows evaluated: one row is one latent with one prompt. ``gradient`` counts those kept for a backward."""

    total: int = 0
    gradient: int = 0

    def count(self, rows: int) -> None:
        self.total += rows
        if torch.is_grad_enabled():
            self.gradient += rows


class Denoiser:
    """eps_theta'(z_t, t, c), or eps_theta with the LoRA off (:meth:`frozen`). One U-Net, two views.

    Weights and activations have the U-Net's own dtype; the prediction comes back in fp32, where losses are taken.
    """

    def __init__(self, unet: UNet2DConditionModel, *, max_rows: int = 0):
        """``max_rows`` bounds the rows of one call without gradients (0 = no bound), for small GPUs."""
        self.unet = unet
        self.rows = Rows()
        self.max_rows = max_rows

    @property
    def device(self) -> torch.device:
        return self.unet.device

    def __call__(self, z: Tensor, t: Tensor, embedding: Tensor) -> Tensor:
        """Predicted noise (b, 4, h, w) fp32 for z (b, 4, h, w), t (b,) in 0..999, embedding (b, 77, d)."""
        self.rows.count(len(z))
        if not self.max_rows or len(z) <= self.max_rows or torch.is_grad_enabled():
            return self._forward(z, t, embedding)
        parts = zip(z.split(self.max_rows), t.split(self.max_rows), embedding.split(self.max_rows), strict=True)
        return torch.cat([self._forward(*part) for part in parts])

    def _forward(self, z: Tensor, t: Tensor, embedding: Tensor) -> Tensor:
        dtype = self.unet.dtype
        # Autocast lets the fp32 LoRA weights multiply half-precision activations without fp32 copies of these.
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            eps = self.unet(z.to(dtype), t, encoder_hidden_states=embedding.to(dtype)).sample
        return eps.float()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Rows inside the block, such as those of previews, do not count as training."""
        before, self.rows = self.rows, Rows()
        try:
            yield
        finally:
            self.rows = before

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The frozen model theta: the LoRA is off inside the block."""
        with without_lora(self.unet):
            yield

    @contextmanager
    def frozen_from(self, row: int) -> Iterator[None]:
        """Both models in one call: the rows of a batch from ``row`` on are the frozen model's.

        Only for calls with gradients, which are never split.
        """
        with without_lora_from(self.unet, row):
            yield


def gradient_scaler(denoiser: Denoiser) -> Any:
    """torch's GradScaler, enabled for fp16: gradients of a mean over many pixels would vanish there without a scale."""
    enabled = denoiser.unet.dtype == torch.float16
    if hasattr(torch.amp, "GradScaler"):  # torch 2.3 and later
        return torch.amp.GradScaler(denoiser.device.type, init_scale=2.0**12, enabled=enabled)
    return torch.cuda.amp.GradScaler(init_scale=2.0**12, enabled=enabled and denoiser.device.type == "cuda")
