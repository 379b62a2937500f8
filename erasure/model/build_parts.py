"""Builds one part of a model from its configuration and fills it with weights by name.

The names of the original layout are translated by diffusers itself (``diffusers.loaders.single_file_utils``), but for
tensors that were read without ``torch.load``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_unet_diffusers_config_from_ldm,
    create_vae_diffusers_config_from_ldm,
)
from transformers import CLIPTextConfig, CLIPTextModel

from erasure.errors import BrokenCheckpoint

Weights = dict[str, torch.Tensor]
Part = TypeVar("Part", bound=torch.nn.Module)
Made = TypeVar("Made")

# What a CLIP text encoder is built from.
_TEXT_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("max_position_embeddings", "hidden_act", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id"),
)

# Names of the VAE's attention in folders written by diffusers before 0.15.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def unet_from_ldm(document: dict[str, Any], weights: Weights, size: int, origin: str) -> UNet2DConditionModel:
    """Build the U-Net that an LDM configuration describes; its weights have their original names.

    ``size``: side of the latents; ``origin``: name of the file in errors. Raises: BrokenCheckpoint if that fails.
    """
    config = _configured(lambda: _unet_config(document), "U-Net", origin)
    config["sample_size"] = size
    converted = _converted(lambda: convert_ldm_unet_checkpoint(weights, config), "U-Net", origin)
    return fill(build_unet(config, origin), converted, "U-Net", origin)


def _unet_config(document: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = create_unet_diffusers_config_from_ldm(document, {})
    heads = config["attention_head_dim"]  # for historical reasons diffusers has the number of heads here
    if not isinstance(heads, int) or heads < 1 or any(width % heads for width in config["block_out_channels"]):
        raise ValueError(f"num_heads is {heads}, which does not divide the layers' widths")
    return config


def vae_from_ldm(document: dict[str, Any], weights: Weights, scale: float, origin: str) -> AutoencoderKL:
    """Build the VAE that an LDM configuration describes, like :func:`unet_from_ldm`; ``scale`` of its latents."""
    config = _configured(lambda: create_vae_diffusers_config_from_ldm(document, {}), "VAE", origin)
    config["scaling_factor"] = scale
    converted = _converted(lambda: convert_ldm_vae_checkpoint(weights, config), "VAE", origin)
    return fill(build_vae(config, origin), converted, "VAE", origin)


def build_unet(config: dict[str, Any], origin: str) -> UNet2DConditionModel:
    """Build an empty U-Net (without memory) from a diffusers configuration. Raises: BrokenCheckpoint if that fails."""
    return _configured(lambda: UNet2DConditionModel.from_config(config), "U-Net", origin)


def build_vae(config: dict[str, Any], origin: str) -> AutoencoderKL:
    """Build an empty VAE (without memory) from a diffusers configuration. Raises: BrokenCheckpoint if that fails."""
    return _configured(lambda: AutoencoderKL.from_config(config), "VAE", origin)


def build_text_encoder(config: dict[str, Any], origin: str) -> CLIPTextModel:
    """Build an empty CLIP text encoder (without memory) from its own ``config.json``, or that of a whole CLIP model.

    Raises: BrokenCheckpoint if that fails.
    """
    config = config.get("text_config", config)
    return _configured(lambda: CLIPTextModel(_text_config(config)), "text encoder", origin)


def _text_config(config: dict[str, Any]) -> CLIPTextConfig:
    """Return what decides the text encoder: of the library's many other settings, some are lists of any length."""
    return CLIPTextConfig(**{name: config[name] for name in _TEXT_SETTINGS if name in config})


def noise_schedule(config: dict[str, Any], origin: str) -> torch.Tensor:
    """Return alpha_bar_t of a training schedule, from DDPM's settings. Raises: BrokenCheckpoint if there is none."""
    try:
        alphas: torch.Tensor = DDPMScheduler(**config).alphas_cumprod
        sound = bool(((alphas > 0) & (alphas < 1)).all()) and bool((alphas.diff() < 0).all())
    except Exception as error:  # of the library, which checks little
        raise BrokenCheckpoint(
            f"{origin}: the noise schedule cannot be used ({type(error).__name__}: {error}). Correct it."
        ) from error
    if not sound:
        raise BrokenCheckpoint(f"{origin}: the noise schedule does not go from pictures to noise. Correct it.")
    return alphas


def fill(model: Part, weights: Weights, part: str, origin: str) -> Part:
    """Give an empty model its weights, without copying them.

    Raises: BrokenCheckpoint if a weight is missing, has another shape, or is left over.
    """
    # Versions of transformers differ in the prefix text_model. and in whether position_ids are stored.
    expected = {_plain(name): (name, tensor.shape) for name, tensor in model.state_dict().items()}
    given = {_plain(name): tensor for name, tensor in weights.items() if not name.endswith("position_ids")}
    # Shapes first: with a wrong configuration names are missing or left over as well, which explains less.
    for plain, tensor in given.items():
        if plain in expected and tensor.shape != expected[plain][1]:
            raise BrokenCheckpoint(
                f"{origin} does not fit its configuration: {plain} of the {part} has shape "
                f"{tuple(tensor.shape)}, expected {tuple(expected[plain][1])}. "
                "Put the model's own .yaml beside it, with the same name."
            )
    positions = {plain for plain in expected if plain.endswith("position_ids")}
    missing = sorted(set(expected) - set(given) - positions)
    if missing:
        raise BrokenCheckpoint(
            f"{origin} lacks {len(missing)} weights of its {part}, such as {missing[0]}. "
            "Download it again, or choose a complete checkpoint."
        )
    surplus = sorted(set(given) - set(expected))
    if surplus:
        raise BrokenCheckpoint(
            f"{origin} has {len(surplus)} weights that its {part}'s configuration does not expect, "
            f"such as {surplus[0]}. Put the model's own .yaml beside it, or choose another checkpoint."
        )
    model.load_state_dict({expected[plain][0]: given[plain] for plain in given}, strict=False, assign=True)
    _number_positions(model)
    return model


def _plain(name: str) -> str:
    name = name.removeprefix("text_model.")
    parts = [_OLD_ATTENTION.get(word, word) for word in name.split(".")] if "attentions" in name else [name]
    return ".".join(parts)


def _number_positions(model: torch.nn.Module) -> None:
    """Set ``position_ids`` to 0, 1, 2, ...: this buffer has no weights in the file."""
    for module in model.modules():
        positions = getattr(module, "position_ids", None)
        if isinstance(positions, torch.Tensor):
            module.position_ids = torch.arange(positions.shape[-1]).unsqueeze(0)


def _configured(make: Callable[[], Made], part: str, origin: str) -> Made:
    """Build a part, and turn whatever a strange configuration provokes into BrokenCheckpoint."""
    try:
        with torch.device("meta"):  # shapes only: no memory, and no time spent on random weights
            return make()
    except Exception as error:  # of the library, which checks little
        raise BrokenCheckpoint(
            f"{origin}: the configuration of its {part} cannot be used ({type(error).__name__}: {error}). Correct it."
        ) from error


def _converted(convert: Callable[[], Weights], part: str, origin: str) -> Weights:
    """Translate the names of weights. Raises: BrokenCheckpoint if some are missing."""
    try:
        return convert()
    except Exception as error:  # of the library, for names that it does not expect
        raise BrokenCheckpoint(
            f"{origin}: the weights of its {part} are incomplete ({type(error).__name__}: {error}). Download it again."
        ) from error
