"""The U-Net as a function: noisy latents, timestep and conditioning in, predicted noise out; every row counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from erasure.config.settings import Precision
from erasure.lora.adapter import without_lora, without_lora_from
from erasure.model.conditioning import Conditioning
from erasure.model.rows import RowBook

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Denoiser:
    """eps_theta'(z_t, t, c), or eps_theta with the LoRA off (:meth:`frozen`). One U-Net, two views.

    Weights and activations have the U-Net's own dtype; the prediction comes back in fp32, where losses are taken.
    """

    def __init__(self, unet: UNet2DConditionModel, *, max_rows: int = 0):
        """``max_rows`` bounds the rows of one call without gradients (0 = no bound), for small GPUs."""
        self.unet = unet
        self.rows = RowBook()
        self.max_rows = max_rows

    def __call__(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Predicted noise (b, c, h, w) fp32 for z (b, c, h, w), t (b,) below the number of training timesteps."""
        self.rows.count(len(z), gradient=torch.is_grad_enabled())
        if not self.max_rows or len(z) <= self.max_rows or torch.is_grad_enabled():
            return self._forward(z, t, conditioning)
        parts = zip(z.split(self.max_rows), t.split(self.max_rows), conditioning.split(self.max_rows), strict=True)
        return torch.cat([self._forward(*part) for part in parts])

    def _forward(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = self.unet.dtype
        # Autocast lets the fp32 LoRA weights multiply half-precision activations without fp32 copies of these.
        with torch.autocast(self.unet.device.type, dtype=dtype, enabled=dtype != torch.float32):
            eps = self.unet(z.to(dtype), t, encoder_hidden_states=conditioning.states.to(dtype)).sample
        return eps.float()

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
