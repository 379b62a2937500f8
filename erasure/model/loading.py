"""Loads the parts of a model from a checkpoint, frozen.

Nothing is downloaded: configurations and tokenizer ship with the package, or lie beside the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig

from erasure.errors import BrokenCheckpoint
from erasure.families.family import Family, TextEncoder
from erasure.model import open_clip
from erasure.model.build_parts import (
    TextModel,
    Weights,
    build_text_encoder,
    build_unet,
    fill,
    fill_vae,
    noise_schedule,
    text_from_open_clip,
    text_settings,
    unet_from_ldm,
    vae_config_from_ldm,
)
from erasure.model.checkpoint import CheckpointInfo, OriginalFile, ema_names, inspect_checkpoint, unet_names
from erasure.model.denoiser import SIZES
from erasure.model.diffusers_folder import DiffusersFolder, read_config
from erasure.model.parts import ModelParts
from erasure.model.text_reader import TextReader, read_together
from erasure.model.tokenizer import load_tokenizer
from erasure.model.vae_file import VaeFile
from erasure.model.velocity import measured_prediction
from erasure.model.weights_file import FLOATS, WeightsFile, read_tensors

_Parts = tuple[UNet2DConditionModel, tuple[TextReader, ...], torch.Tensor]
_MEASURED_SIDE = 32  # of latents, each side: enough for a mean, and a quarter of a full-size row's work
# How the names of weights begin that a text encoder reads; files of a whole CLIP have more.
_TEXT = ("text_model.", "embeddings.", "encoder.", "final_layer_norm.")
_PROJECTION = "text_projection."


def load_parts(
    path: Path | CheckpointInfo, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ModelParts:
    """Load U-Net, VAE, text encoder and tokenizer, frozen, in ``dtype`` on ``device``.

    Raises: BrokenCheckpoint if a weight is missing, has another shape or is not finite, and whatever
    :func:`inspect_checkpoint` raises.
    """
    info = path if isinstance(path, CheckpointInfo) else inspect_checkpoint(path)
    contents = info.contents
    ignored: list[str] = []
    load = _load_original if isinstance(contents, OriginalFile) else _load_folder
    unet, texts, alphas_cumprod = load(info, dtype, ignored)
    _check_widths(info, unet, texts)
    vae = _load_vae(info, dtype, ignored)
    for part in (unet, vae, *(reader.encoder for reader in texts)):
        if part is not None:
            part.eval().requires_grad_(False).to(device)
    parts = ModelParts(unet, vae, texts, info, alphas_cumprod.float().to(device), tuple(ignored))
    return parts if info.prediction_type else _settled(parts)


def _check_widths(info: CheckpointInfo, unet: UNet2DConditionModel, texts: Sequence[TextReader]) -> None:
    """Check that the U-Net takes what the text encoders give. Raises: BrokenCheckpoint if it does not."""
    given, taken = sum(reader.encoder.config.hidden_size for reader in texts), unet.config.cross_attention_dim
    what = "text"
    if given == taken and unet.config.addition_embed_type == "text_time":
        pooled = sum(reader.encoder.config.projection_dim for reader in texts if reader.family.pooled)
        given = pooled + SIZES * unet.config.addition_time_embed_dim
        taken, what = unet.config.projection_class_embeddings_input_dim, "pooled text and sizes"
    if given != taken:
        raise BrokenCheckpoint(
            f"{info.path}: the U-Net expects {what} of width {taken}, its text encoders give {given}. "
            "It mixes two models, or its configuration does. Download it again."
        )


@torch.no_grad()
def _settled(parts: ModelParts) -> ModelParts:
    """Measure what the U-Net predicts: one row of pure noise, with the empty prompt, at the noisiest timestep."""
    channels, side, _ = parts.latents_of()
    side = min(side, _MEASURED_SIDE)
    z = torch.randn((1, channels, side, side), generator=torch.Generator().manual_seed(0)).to(parts.device, parts.dtype)
    states = read_together(parts.texts, [reader.ids([""]) for reader in parts.texts]).states
    output = parts.unet(z, len(parts.alphas_cumprod) - 1, encoder_hidden_states=states.to(parts.dtype)).sample
    parts = replace(parts, info=parts.info.settled(measured_prediction(output, z)))
    assert isinstance(parts.info.contents, OriginalFile)
    parts.unet.register_to_config(sample_size=parts.info.contents.config.latent_side)
    return parts


def _load_original(info: CheckpointInfo, dtype: torch.dtype, ignored: list[str]) -> _Parts:
    """Load the parts but the VAE from a single file."""
    assert isinstance(info.contents, OriginalFile)
    weights, config = info.contents.weights, info.contents.config
    family, parameters = config.family, config.parameters
    origin = f"{weights.path} (configuration {config.path.name})"

    twins = ema_names(weights, family) if info.averaged else None
    unet_weights = _read_unet(weights, family, dtype, ignored) if twins is None else _read_twins(weights, twins, dtype)
    unet = unet_from_ldm(config.document, unet_weights, config.latent_side, origin, ignored)
    texts = tuple(
        _reader_of_file(info.contents, own, files, dtype, origin, ignored)
        for own, files in zip(family.text_encoders, config.text_files(), strict=True)
    )
    prefixes = tuple(own.prefix for own in family.text_encoders)
    inside = [name for name in weights.shapes if name.startswith(family.parts.text)]
    ignored += [name for name in inside if not name.startswith(prefixes)]
    schedule = family.schedule
    betas = {
        "num_train_timesteps": int(parameters.get("timesteps", schedule.steps)),
        "beta_start": float(parameters.get("linear_start", schedule.start)),
        "beta_end": float(parameters.get("linear_end", schedule.end)),
        "beta_schedule": "scaled_linear",  # what LDM calls linear
        "rescale_betas_zero_snr": config.zero_snr,
    }
    return unet, texts, noise_schedule(betas, origin)


def _load_folder(info: CheckpointInfo, dtype: torch.dtype, ignored: list[str]) -> _Parts:
    """Load the parts but the VAE from a diffusers folder, each with its own ``config.json``."""
    folder = info.contents
    assert isinstance(folder, DiffusersFolder)
    family, configs, origin = folder.family, folder.configs, str(folder.path)
    chosen = folder.averaged_unet if info.averaged else folder.plain_unet
    files = folder.weights["unet"] if info.opening.ema == "auto" else chosen or folder.weights["unet"]
    unet = fill(build_unet(configs["unet"], origin), _read_all(files, dtype), "U-Net", origin, ignored)
    texts = tuple(_reader_of_folder(folder, own, dtype, ignored) for own in family.text_encoders)
    known = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "rescale_betas_zero_snr",
    )
    config = configs["scheduler"]
    alphas_cumprod = noise_schedule({key: config[key] for key in known if key in config}, origin)
    return unet, texts, alphas_cumprod


def _reader_of_file(
    file: OriginalFile, own: TextEncoder, files: tuple[Path, Path], dtype: torch.dtype, origin: str, ignored: list[str]
) -> TextReader:
    """Load a text encoder from a single file; ``files``: its configuration, and the folder of its tokenizer."""
    weights, config, translated = file.weights, file.config, own.layout == "openclip"
    starts, unused = (open_clip.PARTS, open_clip.UNUSED) if translated else (_text_names(own), ())
    inside = [name.removeprefix(own.prefix) for name in weights.shapes if name.startswith(own.prefix)]
    wanted = [name for name in inside if name.startswith(starts)]
    ignored += [own.prefix + name for name in inside if name not in wanted and name not in unused]
    text = _read(weights, dtype, [own.prefix + name for name in wanted], strip=own.prefix)
    if translated:
        text = text_from_open_clip(text, origin, projection=own.pooled)
    encoder = _text_encoder(read_config(files[0]), text, own, config.skipped_layers, origin, ignored)
    return _reader(encoder, files[1], own, config.family)


def _reader_of_folder(folder: DiffusersFolder, own: TextEncoder, dtype: torch.dtype, ignored: list[str]) -> TextReader:
    read, starts = _read_all(folder.weights[own.part], dtype), _text_names(own)
    text = {name: tensor for name, tensor in read.items() if name.startswith(starts)}
    ignored += [name for name in read if name not in text]
    encoder = _text_encoder(folder.configs[own.part], text, own, 0, str(folder.path), ignored)
    return _reader(encoder, folder.tokenizer(own), own, folder.family)


def _reader(encoder: TextModel, tokenizer: Path, own: TextEncoder, family: Family) -> TextReader:
    # A tokenizer that comes with the checkpoint knows what pads its prompts.
    padding = own.padding if tokenizer == own.tokenizer_folder else ""
    return TextReader(encoder, load_tokenizer(tokenizer, encoder, family, padding), own)


def _text_names(own: TextEncoder) -> tuple[str, ...]:
    return (*_TEXT, _PROJECTION) if own.pooled else _TEXT


def _text_encoder(
    config: dict[str, Any], weights: Weights, own: TextEncoder, skipped: int, origin: str, ignored: list[str]
) -> TextModel:
    """Build the text encoder without so many of its last layers, which is what web UIs call Clip skip."""
    if skipped:
        config = text_settings(config)
        try:
            kept = int(config.get("num_hidden_layers", CLIPTextConfig().num_hidden_layers)) - skipped
        except (TypeError, ValueError, OverflowError):
            kept = 0
        if kept < 1:
            raise BrokenCheckpoint(f"{origin}: the configuration of its text encoder has no layer to leave out.")
        config = {**config, "num_hidden_layers": kept}
        left_out = re.compile(rf"(^|\.)encoder\.layers\.{kept}\.")
        weights = {name: tensor for name, tensor in weights.items() if not left_out.search(name)}
    empty = build_text_encoder(config, origin, projection=own.pooled)
    if not own.final_norm and empty.config.num_hidden_layers <= own.skipped:
        raise BrokenCheckpoint(f"{origin}: the configuration of its text encoder has no layer to leave out.")
    return fill(empty, weights, "text encoder", origin, ignored)


def _load_vae(info: CheckpointInfo, dtype: torch.dtype, ignored: list[str]) -> AutoencoderKL | None:
    """Load the VAE that decodes pictures, the checkpoint's own or another; None if there is none."""
    found = info.vae or info.own_vae
    if found is None or not found.decodes:
        return None
    tensors: Weights = {}
    for file in found.weights:
        # By name, as old VAE files also contain their training loss.
        names = [name for name in found.names(file) if file.dtypes[name] in FLOATS]
        tensors |= _read(file, dtype, names, strip=found.prefix)
    origin = str(found.path)
    return fill_vae(_vae_config(found, info, origin), tensors, origin, ignored)


def _vae_config(found: VaeFile, info: CheckpointInfo, origin: str) -> dict[str, Any]:
    """Return the configuration of a VAE: its own, or else what the checkpoint says of its VAE, or else the family's."""
    scale, contents = info.family.vae_scale, info.contents
    if isinstance(contents, OriginalFile):
        scale = float(contents.config.parameters.get("scale_factor", scale))
    told = found.config
    if told is None and isinstance(contents, DiffusersFolder):
        told = contents.configs.get("vae")
    if told is not None:
        return {"scaling_factor": scale, **told}
    if isinstance(contents, OriginalFile):
        return vae_config_from_ldm(contents.config.document, scale, f"{origin} (configuration {info.config.name})")
    return vae_config_from_ldm(yaml.safe_load(info.family.yaml.read_bytes()), scale, origin)


def _read(weights: WeightsFile, dtype: torch.dtype, names: Iterable[str], strip: str = "") -> Weights:
    """Read the named tensors; floating-point ones in ``dtype``."""
    read = _cast(read_tensors(weights, names), dtype)
    return {name.removeprefix(strip): tensor for name, tensor in read.items()}


def _read_all(files: Iterable[WeightsFile], dtype: torch.dtype) -> Weights:
    tensors: Weights = {}
    for file in files:
        tensors |= _read(file, dtype, file.shapes)
    return tensors


def _read_unet(weights: WeightsFile, family: Family, dtype: torch.dtype, ignored: list[str]) -> Weights:
    names = unet_names(weights, family)
    ignored += [name for name in names if weights.dtypes[name] not in FLOATS]
    return _read(weights, dtype, [name for name in names if weights.dtypes[name] in FLOATS])


def _read_twins(weights: WeightsFile, twins: Mapping[str, str], dtype: torch.dtype) -> Weights:
    """Read averaged weights, by the names of the plain ones."""
    tensors = read_tensors(weights, twins.values())
    cast = _cast(tensors, dtype)
    return {name: cast[twin] for name, twin in twins.items()}


def _cast(tensors: Weights, dtype: torch.dtype) -> Weights:
    """Return the tensors, taken out of the dictionary one by one: both kinds of all of them would take much memory."""
    cast: Weights = {}
    for name in list(tensors):
        tensor = tensors.pop(name)
        cast[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return cast
