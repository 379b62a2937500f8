"""The parts of a model, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTokenizer

from erasure.families.family import PredictionType
from erasure.model.build_parts import TextModel
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.text_reader import TextReader
from erasure.model.velocity import noise_in


@dataclass
class ModelParts:
    """The parts of a model, in evaluation mode and with ``requires_grad`` off.

    ``texts``: its text encoders; they read the same tokens, but for their padding. ``vae``: None if the checkpoint has
    none and none was given. ``alphas_cumprod``: alpha_bar_t of the training schedule, (1000,) for SD 1.x, fp32 on the
    device of the parts. ``ignored``: names of weights that the parts have no place for.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL | None
    texts: tuple[TextReader, ...]
    info: CheckpointInfo
    alphas_cumprod: torch.Tensor
    ignored: tuple[str, ...] = ()

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        """What a LoRA can change: the U-Net as "", and the text encoders by the names of their parts."""
        return {"": self.unet, **{reader.family.part: reader.encoder for reader in self.texts}}

    @property
    def text_encoder(self) -> TextModel:
        """The first text encoder."""
        return self.texts[0].encoder

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The first text encoder's tokenizer."""
        return self.texts[0].tokenizer

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the checkpoint and of how it was loaded, one line each."""
        if not self.ignored:
            return self.info.notes
        count, name = len(self.ignored), self.info.path.name
        some = "one weight that has" if count == 1 else f"{count} weights that have"
        return (*self.info.notes, f"{name} has {some} no place in the model, such as {self.ignored[0]}: ignored")

    @property
    def device(self) -> torch.device:
        """Where the U-Net is now."""
        device: torch.device = next(self.unet.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's number type."""
        dtype: torch.dtype = next(self.unet.parameters()).dtype
        return dtype

    @property
    def prediction_type(self) -> PredictionType:
        """What the U-Net predicts."""
        return self.info.prediction_type or "epsilon"

    def noise_in(self, output: torch.Tensor, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the noise (b, c, h, w), fp32, of what the U-Net returned for z (b, c, h, w) and timesteps t (b,)."""
        return noise_in(output, z, self.alphas_cumprod[t], self.prediction_type)

    @property
    def sample_size(self) -> int:
        """Native height and width of the latents (64 for SD 1.x)."""
        family = self.info.family
        return int(self.unet.config.sample_size or family.full.pixels // family.pixels_per_latent)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent along one side (8 for SD 1.x)."""
        if self.vae is None:
            return self.info.family.pixels_per_latent
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def latents_of(self, pixels: int = 0) -> tuple[int, int, int]:
        """Return (channels, height, width) of a square picture's latents (0: of the size the model was made for)."""
        side = pixels // self.vae_scale_factor if pixels else self.sample_size
        return int(self.unet.config.in_channels), side, side

    def move(self, device: str | torch.device) -> None:
        """Move all parts to a device."""
        for part in (self.unet, self.vae, *(reader.encoder for reader in self.texts)):
            if part is not None:
                part.to(device)
        self.alphas_cumprod = self.alphas_cumprod.to(device)
