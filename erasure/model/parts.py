"""The parts of a Stable Diffusion 1.x model, loaded from a checkpoint and frozen.

Everything is local: configurations and tokenizer ship with the package, or lie beside the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, CLIPTokenizerFast

from erasure.errors import BrokenCheckpoint
from erasure.model.checkpoint import CheckpointInfo, ema_names, inspect_checkpoint
from erasure.model.diffusers_folder import part_folder, read_config, read_json, weight_files
from erasure.model.kinds import TEXT, UNET, VAE
from erasure.model.ldm_config import CLIP_FOLDER, TOKENIZER_FILES, read_ldm_config, sample_size, text_folder
from erasure.model.model_parts import (
    Weights,
    build_text_encoder,
    build_unet,
    build_vae,
    fill,
    unet_from_ldm,
    vae_from_ldm,
)
from erasure.model.weights_file import WeightsFile, open_weights, read_tensors

_Parts = tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel, CLIPTokenizer, torch.Tensor]


@dataclass
class ModelParts:
    """One SD 1.x model: all parts in evaluation mode, no parameter asks for a gradient.

    ``alphas_cumprod`` is alpha_bar_t of the training schedule, (1000,) fp32 on the parts' device.
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
        return int(self.unet.config.sample_size or 64)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent along one side (8 for SD 1.x)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def latents_of(self, pixels: int = 0) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of a square picture (0: of the size that the model was made for)."""
        side = pixels // self.vae_scale_factor if pixels else self.sample_size
        return int(self.vae.config.latent_channels), side, side

    def move(self, device: str | torch.device) -> None:
        for part in (self.unet, self.vae, self.text_encoder):
            part.to(device)
        self.alphas_cumprod = self.alphas_cumprod.to(device)


def load_parts(
    path: Path | CheckpointInfo, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ModelParts:
    """Load U-Net, VAE, text encoder and tokenizer, frozen, in ``dtype`` on ``device``; nothing is downloaded.

    Raises BrokenCheckpoint naming the first weight that is missing, of another shape, or not finite, and what
    :func:`inspect_checkpoint` raises.
    """
    info = path if isinstance(path, CheckpointInfo) else inspect_checkpoint(path)
    load = _load_original if info.layout == "original" else _load_folder
    unet, vae, text_encoder, tokenizer, alphas_cumprod = load(info, dtype)
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False).to(device)
    return ModelParts(unet, vae, text_encoder, tokenizer, info, alphas_cumprod.float().to(device))


def _load_original(info: CheckpointInfo, dtype: torch.dtype) -> _Parts:
    """The parts of a single file, with the LDM configuration that ``info`` names."""
    weights, document = open_weights(info.path), read_ldm_config(info.config)
    texts = text_folder(info.config)
    origin = f"{info.path} (configuration {info.config.name})"

    unet = unet_from_ldm(document, _read_unet(weights, dtype), sample_size(document), origin)
    # Old VAE files carry their training loss along.
    names = [f"{VAE}{part}" for part in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")]
    vae = vae_from_ldm(document, _read(weights, dtype, *names), origin)
    text = _read(weights, dtype, TEXT + "transformer.", strip=TEXT + "transformer.")
    text_encoder = fill(build_text_encoder(read_json(texts / "config.json"), origin), text, "text encoder", origin)

    parameters = document["model"]["params"]
    scheduler = DDPMScheduler(
        num_train_timesteps=int(parameters.get("timesteps", 1000)),
        beta_start=float(parameters.get("linear_start", 0.00085)),
        beta_end=float(parameters.get("linear_end", 0.012)),
        beta_schedule="scaled_linear",  # what LDM calls linear
    )
    return unet, vae, text_encoder, _tokenizer(texts, text_encoder), scheduler.alphas_cumprod


def _load_folder(info: CheckpointInfo, dtype: torch.dtype) -> _Parts:
    """The parts of a diffusers folder, each with its own ``config.json``."""
    folder, origin = info.path, str(info.path)

    def read(part: str) -> Weights:
        tensors: Weights = {}
        for file in weight_files(folder, part):
            tensors.update(_read(open_weights(file), dtype, ""))
        return tensors

    unet = fill(build_unet(read_config(folder, "unet"), origin), read("unet"), "U-Net", origin)
    vae = fill(build_vae(read_config(folder, "vae"), origin), read("vae"), "VAE", origin)
    texts = build_text_encoder(read_config(folder, "text_encoder"), origin)
    text_encoder = fill(texts, read("text_encoder"), "text encoder", origin)
    known = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    scheduler = DDPMScheduler(**{key: config[key] for key in known if key in config})
    tokenizer = part_folder(folder, "tokenizer")
    has_tokenizer = all((tokenizer / name).is_file() for name in TOKENIZER_FILES)
    return (
        unet,
        vae,
        text_encoder,
        _tokenizer(tokenizer if has_tokenizer else CLIP_FOLDER, text_encoder),
        scheduler.alphas_cumprod,
    )


def _read(weights: WeightsFile, dtype: torch.dtype, *prefixes: str, strip: str = "") -> Weights:
    """The tensors whose names start with one of the prefixes; floating-point ones in ``dtype``."""
    names = [name for name in weights.shapes if name.startswith(prefixes)]
    return _cast({name.removeprefix(strip): tensor for name, tensor in read_tensors(weights, names).items()}, dtype)


def _read_unet(weights: WeightsFile, dtype: torch.dtype) -> Weights:
    """The U-Net under its plain names; the averaged weights where they are complete."""
    twins = ema_names(weights)
    if twins is None:
        return _read(weights, dtype, UNET)
    tensors = read_tensors(weights, twins.values())
    return _cast({name: tensors[twin] for name, twin in twins.items()}, dtype)


def _cast(tensors: Weights, dtype: torch.dtype) -> Weights:
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def _tokenizer(folder: Path, text_encoder: CLIPTextModel) -> CLIPTokenizer:
    """The folder's tokenizer, as the fast class: the tokens of the other depend on whether ftfy is there."""
    tokenizer = CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    tokens, known = len(tokenizer), text_encoder.config.vocab_size
    if tokens > known:
        raise BrokenCheckpoint(
            f"The tokenizer in {folder} has {tokens} tokens, its text encoder knows {known}. "
            "Put the tokenizer there that belongs to the checkpoint."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
