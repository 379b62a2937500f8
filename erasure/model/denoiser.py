"""The U-Net as a function: from noisy latents, timestep and conditioning to predicted noise. Counts every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from erasure.config.settings import Precision
from erasure.lora.adapter import without_lora, without_lora_from
from erasure.model.conditioning import Conditioning
from erasure.model.rows import RowBook

SIZES = 6  # numbers that SDXL's U-Net is told of a picture's size, see Denoiser
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

NoiseIn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Returns the noise (b, c, h, w), fp32, from the U-Net's output, z_t (b, c, h, w) and t (b,)."""


def half_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Let fp32 LoRA weights multiply half-precision activations, without copying these to fp32.

    fp32 has no need of autocast, and must not even enter it switched off: torch 2.1 refuses fp32 there on a CPU, torch
    before 2.5 on MPS, and DirectML refuses to enter at all.
    """
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


class Denoiser:
    """The tuned model eps_theta'(z_t, t, c), and the frozen model eps_theta, on one U-Net (:meth:`frozen`).

    Weights and activations have the dtype of the U-Net; predictions are returned in fp32, in which losses are computed.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        noise_in: NoiseIn | None = None,
        pixels_per_latent: int = 8,
        max_rows: int = 0,
    ):
        """``noise_in``: how the noise is had from what the U-Net predicts, if it does not predict noise.

        ``pixels_per_latent``: along one side; ``max_rows``: most rows of a call without gradients, for small GPUs (0 =
        no limit).
        """
        self.unet = unet
        self.pixels_per_latent = pixels_per_latent
        self.rows = RowBook()
        self._noise_in = noise_in
        self.max_rows = max_rows
        self._frozen_from: int | None = None  # the first row of the frozen model, None if there is none

    def __call__(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the predicted noise (b, c, h, w), fp32, for z (b, c, h, w) and timesteps t (b,)."""
        self.rows.count(len(z), gradient=torch.is_grad_enabled())
        if not self.max_rows or len(z) <= self.max_rows or torch.is_grad_enabled():
            return self._forward(z, t, conditioning)
        parts = zip(z.split(self.max_rows), t.split(self.max_rows), conditioning.split(self.max_rows), strict=True)
        return torch.cat([self._forward(*part) for part in parts])

    def _forward(self, z: Tensor, t: Tensor, both: Conditioning) -> Tensor:
        dtype, conditioning = self.unet.dtype, self._told(both)
        states = conditioning.states.to(dtype)
        with half_precision(self.unet.device, dtype):
            output: Tensor = self.unet(
                z.to(dtype), t, encoder_hidden_states=states, added_cond_kwargs=self._added(z, conditioning)
            ).sample
        return output.float() if self._noise_in is None else self._noise_in(output, z, t)

    def _told(self, conditioning: Conditioning) -> Conditioning:
        """Return what each row's own model is told."""
        first = self._frozen_from
        tuned = conditioning.as_tuned
        if first is None or conditioning.frozen_states is None:
            return tuned
        return Conditioning.cat([tuned[:first], conditioning.as_frozen[first:]]) if first else conditioning.as_frozen

    def _added(self, z: Tensor, conditioning: Conditioning) -> dict[str, Tensor] | None:
        """Return what SDXL's U-Net is told besides: the pooled text, and sizes (Podell et al. 2023, section 2.2).

        As in AUTOMATIC1111 and diffusers, the original and the target size are those of the picture that is drawn, and
        nothing is cut off: (height, width, top, left, height, width) in pixels.
        """
        if conditioning.pooled is None:
            return None
        height, width = (side * self.pixels_per_latent for side in z.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=z.device, dtype=torch.float32)
        return {"text_embeds": conditioning.pooled.to(self.unet.dtype), "time_ids": sizes.expand(len(z), -1)}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Switch to the frozen model theta inside the block: the LoRA is off."""
        with without_lora(self.unet), self._frozen_rows(0):
            yield

    @contextmanager
    def frozen_from(self, row: int) -> Iterator[None]:
        """Use both models in one call inside the block: the rows of a batch from ``row`` on are the frozen model's.

        Only for calls with gradients, which are never split.
        """
        with without_lora_from(self.unet, row), self._frozen_rows(row):
            yield

    @contextmanager
    def _frozen_rows(self, first: int) -> Iterator[None]:
        before = self._frozen_from
        self._frozen_from = first if before is None else min(before, first)
        try:
            yield
        finally:
            self._frozen_from = before
