"""Loads the parts of a model from a checkpoint, frozen.

Nothing is downloaded: configurations and tokenizer ship with the package, or lie beside the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from erasure.families.family import Family
from erasure.model.build_parts import (
    Weights,
    build_text_encoder,
    build_unet,
    build_vae,
    fill,
    noise_schedule,
    unet_from_ldm,
    vae_from_ldm,
)
from erasure.model.checkpoint import CheckpointInfo, OriginalFile, ema_names, inspect_checkpoint
from erasure.model.diffusers_folder import DiffusersFolder, read_config
from erasure.model.tokenizer import load_tokenizer
from erasure.model.weights_file import WeightsFile, read_tensors

_Parts = tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel, CLIPTokenizer, torch.Tensor]


@dataclass
class ModelParts:
    """The parts of a model, in evaluation mode and with ``requires_grad`` off.

    ``alphas_cumprod``: alpha_bar_t of the training schedule, (1000,) for SD 1.x, fp32 on the device of the parts.
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
        device: torch.device = next(self.unet.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's number type."""
        dtype: torch.dtype = next(self.unet.parameters()).dtype
        return dtype

    @property
    def sample_size(self) -> int:
        """Native height and width of the latents (64 for SD 1.x)."""
        family = self.info.family
        return int(self.unet.config.sample_size or family.full.pixels // family.pixels_per_latent)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent along one side (8 for SD 1.x)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def latents_of(self, pixels: int = 0) -> tuple[int, int, int]:
        """Return (channels, height, width) of a square picture's latents (0: of the size the model was made for)."""
        side = pixels // self.vae_scale_factor if pixels else self.sample_size
        return int(self.vae.config.latent_channels), side, side

    def move(self, device: str | torch.device) -> None:
        """Move all parts to a device."""
        for part in (self.unet, self.vae, self.text_encoder):
            part.to(device)
        self.alphas_cumprod = self.alphas_cumprod.to(device)


def load_parts(
    path: Path | CheckpointInfo, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ModelParts:
    """Load U-Net, VAE, text encoder and tokenizer, frozen, in ``dtype`` on ``device``.

    Raises: BrokenCheckpoint if a weight is missing, has another shape or is not finite, and whatever
    :func:`inspect_checkpoint` raises.
    """
    info = path if isinstance(path, CheckpointInfo) else inspect_checkpoint(path)
    contents = info.contents
    parts = _load_original(contents, dtype) if isinstance(contents, OriginalFile) else _load_folder(contents, dtype)
    unet, vae, text_encoder, tokenizer, alphas_cumprod = parts
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False).to(device)
    return ModelParts(unet, vae, text_encoder, tokenizer, info, alphas_cumprod.float().to(device))


def _load_original(contents: OriginalFile, dtype: torch.dtype) -> _Parts:
    """Load the parts from a single file."""
    weights, config = contents.weights, contents.config
    family, parameters, texts = config.family, config.parameters, config.text_folder()
    origin = f"{weights.path} (configuration {config.path.name})"

    unet_weights = _read_unet(weights, family, dtype)
    unet = unet_from_ldm(config.document, unet_weights, config.latent_side, origin)
    # By name, as old VAE files also contain their training loss.
    names = [f"{family.parts.vae}{part}" for part in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")]
    scale = float(parameters.get("scale_factor", family.vae_scale))
    vae = vae_from_ldm(config.document, _read(weights, dtype, *names), scale, origin)
    text = _read(weights, dtype, family.parts.clip, strip=family.parts.clip)
    text_encoder = fill(build_text_encoder(read_config(texts / "config.json"), origin), text, "text encoder", origin)

    schedule = family.schedule
    betas = {
        "num_train_timesteps": int(parameters.get("timesteps", schedule.steps)),
        "beta_start": float(parameters.get("linear_start", schedule.start)),
        "beta_end": float(parameters.get("linear_end", schedule.end)),
        "beta_schedule": "scaled_linear",  # what LDM calls linear
    }
    tokenizer = load_tokenizer(texts, text_encoder, family)
    return unet, vae, text_encoder, tokenizer, noise_schedule(betas, origin)


def _load_folder(folder: DiffusersFolder, dtype: torch.dtype) -> _Parts:
    """Load the parts from a diffusers folder, each with its own ``config.json``."""
    family, configs, origin = folder.family, folder.configs, str(folder.path)

    def read(part: str) -> Weights:
        tensors: Weights = {}
        for file in folder.weights[part]:
            tensors.update(_read(file, dtype, ""))
        return tensors

    unet = fill(build_unet(configs["unet"], origin), read("unet"), "U-Net", origin)
    vae_config = {"scaling_factor": family.vae_scale, **configs["vae"]}
    vae = fill(build_vae(vae_config, origin), read("vae"), "VAE", origin)
    texts = build_text_encoder(configs["text_encoder"], origin)
    text_encoder = fill(texts, read("text_encoder"), "text encoder", origin)
    known = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    config = configs["scheduler"]
    alphas_cumprod = noise_schedule({key: config[key] for key in known if key in config}, origin)
    return unet, vae, text_encoder, load_tokenizer(folder.tokenizer, text_encoder, family), alphas_cumprod


def _read(weights: WeightsFile, dtype: torch.dtype, *prefixes: str, strip: str = "") -> Weights:
    """Read the tensors whose names start with one of the prefixes; floating-point ones in ``dtype``."""
    names = [name for name in weights.shapes if name.startswith(prefixes)]
    return _cast({name.removeprefix(strip): tensor for name, tensor in read_tensors(weights, names).items()}, dtype)


def _read_unet(weights: WeightsFile, family: Family, dtype: torch.dtype) -> Weights:
    """Read the U-Net's weights by their plain names; the averaged ones if they are complete."""
    twins = ema_names(weights, family)
    if twins is None:
        return _read(weights, dtype, family.parts.unet)
    tensors = read_tensors(weights, twins.values())
    return _cast({name: tensors[twin] for name, twin in twins.items()}, dtype)


def _cast(tensors: Weights, dtype: torch.dtype) -> Weights:
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
