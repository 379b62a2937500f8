"""The model, through which all work goes: predictions, prompts, latents and pictures, tuned and frozen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Generator, Tensor
from transformers import CLIPTokenizer

from erasure.config.settings import Precision
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.denoiser import DTYPES, Denoiser
from erasure.model.device import check_device
from erasure.model.embedding import Embedder
from erasure.model.loading import load_parts
from erasure.model.parts import ModelParts
from erasure.model.rough_picture import rough_picture
from erasure.model.rows import RowBook
from erasure.model.sampling import ddim_next


class Model:
    """A loaded latent diffusion model: eps_theta'(z_t, t, c), with its inputs and outputs.

    Shapes: latents z (b, c, h, w) with (c, h, w) = :attr:`latent_shape`, timesteps t (b,) below :attr:`train_steps`.
    """

    def __init__(self, parts: ModelParts, *, resolution: int = 0, max_rows: int = 0):
        """``resolution``: side in pixels (0: what the checkpoint was made for); ``max_rows``: see :class:`Denoiser`."""
        self.parts = parts
        self.latent_shape = parts.latents_of(resolution)
        noise_in = None if parts.prediction_type == "epsilon" else parts.noise_in
        self._denoiser = Denoiser(
            parts.unet, noise_in=noise_in, pixels_per_latent=parts.vae_scale_factor, max_rows=max_rows
        )
        self._embedder = Embedder(parts)

    @property
    def unet(self) -> UNet2DConditionModel:
        """The U-Net, with or without a LoRA."""
        return self.parts.unet

    @property
    def vae(self) -> AutoencoderKL | None:
        """The VAE, which turns latents into pictures; None if there is none."""
        return self.parts.vae

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of the first text encoder; others read the same tokens, but for their padding."""
        return self.parts.tokenizer

    @property
    def alphas_cumprod(self) -> Tensor:
        """alpha_bar_t of the training schedule, (train_steps,) fp32."""
        return self.parts.alphas_cumprod

    @property
    def train_steps(self) -> int:
        """Number of timesteps of the training schedule (1000 for SD 1.x)."""
        return len(self.parts.alphas_cumprod)

    @property
    def pixels(self) -> int:
        """Side of the pictures that latents of :attr:`latent_shape` stand for."""
        return self.latent_shape[1] * self.parts.vae_scale_factor

    @property
    def rows(self) -> RowBook:
        """The rows that were evaluated so far."""
        return self._denoiser.rows

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return self.parts.device

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's number type."""
        return self.parts.dtype

    def move(self, device: str | torch.device) -> None:
        """Move all parts to a device. Parameters stay the same objects, so that optimizers keep them."""
        self.parts.move(device)

    # --- the U-Net

    @property
    def rows_at_once(self) -> int:
        """The most rows of a call without gradients that are evaluated together; 0 = no limit."""
        return self._denoiser.max_rows

    def eps(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the noise, fp32, predicted by the tuned model, or by the frozen one inside :meth:`frozen`."""
        return self._denoiser(z, t, conditioning)

    def frozen(self) -> AbstractContextManager[None]:
        """Switch to the frozen model theta inside the block: the LoRA is off."""
        return self._denoiser.frozen()

    def frozen_from(self, row: int) -> AbstractContextManager[None]:
        """Use both models in one call: see :meth:`Denoiser.frozen_from`."""
        return self._denoiser.frozen_from(row)

    # --- prompts

    def embed(self, texts: Sequence[str]) -> Conditioning:
        """Embed texts as a batch, on the model's device; known texts are not encoded again."""
        return self._embedder(texts)

    def prompt(self, text: str) -> Prompt:
        """Return a text with its conditioning."""
        return Prompt(text, self.embed([text]))

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d): one vector per text, the state at its end token; see :meth:`Embedder.pooled`."""
        return self._embedder.pooled(texts)

    # --- latents and pictures

    def noise(self, generator: Generator, pixels: int = 0) -> Tensor:
        """Draw standard normal noise (c, h, w), on the model's device; ``pixels``: side if it is not the model's."""
        shape = self.parts.latents_of(pixels) if pixels else self.latent_shape
        # Drawn on the CPU, so that a seed gives the same noise on every device.
        return torch.randn(shape, generator=generator).to(self.device)

    def sample(
        self,
        conditioning: Conditioning,
        noise: Tensor,
        *,
        steps: int,
        guidance: float,
        stop: int = 0,
        null: Conditioning | None = None,
    ) -> Tensor:
        """Sample with DDIM from ``noise`` (b, c, h, w) for b prompts, without the last ``stop`` steps.

        Returns the clean latents if stop = 0, else z_t at timestep ``ddim_timesteps(steps)[steps - stop]``.
        ``null``: what guidance leads away from, a batch of one; by default the empty prompt.
        """
        null = self.embed([""]) if null is None else null
        z = noise
        for i in range(steps - stop):
            z = self.sample_step(z, i, conditioning, null, steps=steps, guidance=guidance)
        return z

    def sample_step(
        self, z: Tensor, i: int, conditioning: Conditioning, null: Conditioning, *, steps: int, guidance: float
    ) -> Tensor:
        """Return the latents after step i (from 0) of :meth:`sample`, from those before it."""
        return ddim_next(self.eps, self.alphas_cumprod, z, i, conditioning, null, steps=steps, guidance=guidance)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Image.Image:
        """Decode clean latents (c, h, w) to a picture; only one, since decoding needs more memory than the U-Net.

        Without a VAE it is a rough one, see :func:`erasure.model.rough_picture.rough_picture`.
        """
        vae = self.vae
        if vae is None:
            colours = self.parts.info.family.latent_colours
            return rough_picture(latent, colours, self.parts.vae_scale_factor)
        scaled = (latent[None].to(self.device) / vae.config.scaling_factor).to(vae.dtype)
        pixels = vae.decode(scaled).sample[0].float()
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def open_model(
    checkpoint: CheckpointInfo,
    *,
    precision: Precision = "fp32",
    resolution: int = 0,
    device: str | torch.device = "cpu",
) -> Model:
    """Load a checkpoint. ``resolution``: side in pixels of what will be drawn or trained (0: the checkpoint's own).

    Raises: ConfigError if the device is not there or cannot compute in this precision, before anything is loaded;
    CheckpointError if the checkpoint cannot be loaded.
    """
    check_device(device, precision)
    parts = load_parts(checkpoint, device=device, dtype=DTYPES[precision])
    if precision == "fp16" and parts.vae is not None:
        # The VAE of SD 1.x overflows in fp16 for some pictures, which then come out black, that of SDXL for most.
        parts.vae.float()
    return Model(parts, resolution=resolution, max_rows=rows_at_once(parts, resolution))


def rows_at_once(parts: ModelParts, resolution: int = 0) -> int:
    """Return how many rows of a call without gradients need about the memory of an update with gradient checkpointing.

    With SD 1.x at 512 pixels these are 8 (``python -m benchmarks.memory``); a narrower U-Net or smaller latents allow
    more. A GPU that is busy with 8 such rows gains nothing from larger batches.
    """
    family, full = parts.info.family, parts.info.family.full
    _, height, width = parts.latents_of(resolution)
    full_places = (full.pixels // family.pixels_per_latent) ** 2
    weights = sum(weight.numel() for weight in parts.unet.parameters())
    return full.rows_at_once(height * width / full_places, weights)
