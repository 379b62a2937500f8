"""The parts of a Stable Diffusion 1.x model, loaded from a checkpoint and frozen.

Everything is local: configurations and tokenizer ship with the package, or lie beside the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from erasure.core.checkpoint import CheckpointInfo


@dataclass
class Models:
    """One SD 1.x model: all parts in evaluation mode, no parameter asks for a gradient.

    ``alphas_cumprod`` is alpha_bar_t of the training schedule, (1000,) fp32 on the models' device.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    info: CheckpointInfo
    alphas_cumprod: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Where the U-Net is now."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's number type."""
        return next(self.unet.parameters()).dtype

    @property
    def sample_size(self) -> int:
        """Native height and width of the latents (64 for SD 1.x)."""
        return int(self.unet.config.sample_size)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent along one side (8 for SD 1.x)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))
