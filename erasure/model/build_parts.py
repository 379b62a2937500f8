"""Builds one part of a model from its configuration and fills it with weights by name.

The names of the original layout are translated by diffusers itself (``diffusers.loaders.single_file_utils``), but for
tensors that were read without ``torch.load``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_unet_diffusers_config_from_ldm,
    create_vae_diffusers_config_from_ldm,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from erasure.errors import BrokenCheckpoint
from erasure.model.open_clip import clip_names

LEAST_ALPHA_BAR = 2.0**-24
"""The least picture in zero-SNR noise: 1 - this is a number of fp32 below 1. diffusers' Euler sampler has the same."""

Weights = dict[str, torch.Tensor]
TextModel: TypeAlias = CLIPTextModel | CLIPTextModelWithProjection
Part = TypeVar("Part", bound=torch.nn.Module)
Made = TypeVar("Made")

# What a CLIP text encoder is built from.
_TEXT_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("max_position_embeddings", "hidden_act", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id"),
)

# Names of the VAE's attention in folders written by diffusers before 0.15.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
# Names of the VAE's attention that converters write into files of the original layout -> the original ones.
_NEW_ATTENTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm"}
_MID_ATTENTION = re.compile(r"(.*\bmid\.attn_1)\.(.+)\.(weight|bias)$")


def unet_from_ldm(
    document: dict[str, Any], weights: Weights, size: int, origin: str, ignored: list[str]
) -> UNet2DConditionModel:
    """Build the U-Net that an LDM configuration describes; its weights have their original names.

    ``size``: side of the latents; ``origin``: name of the file in errors; ``ignored``: see :func:`fill`. Raises:
    BrokenCheckpoint if that fails.
    """
    config, converted = _unet_in_diffusers_names(document, weights, size, origin)
    ignored += _unused(weights, converted)
    return fill(build_unet(config, origin), converted, "U-Net", origin, ignored)


def empty_unet_from_ldm(
    document: dict[str, Any], shapes: Mapping[str, Sequence[int]], size: int, origin: str
) -> tuple[UNet2DConditionModel, dict[str, str]]:
    """Build the same U-Net without memory, from the shapes of its weights by their original names.

    Return it with the original name of each of its weights. Raises: BrokenCheckpoint if the shapes do not fit.
    """
    weights = {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    config, converted = _unet_in_diffusers_names(document, weights, size, origin)
    originals = {id(tensor): name for name, tensor in weights.items()}
    names = {name: originals[id(tensor)] for name, tensor in converted.items()}
    return fill(build_unet(config, origin), converted, "U-Net", origin, []), names


def unet_config_from_ldm(document: dict[str, Any], size: int, origin: str) -> dict[str, Any]:
    """Return the diffusers configuration of the U-Net that an LDM configuration describes; ``size`` as above.

    Raises: BrokenCheckpoint if that fails.
    """
    return {**_configured(lambda: _unet_config(document), "U-Net", origin), "sample_size": size}


def _unet_in_diffusers_names(
    document: dict[str, Any], weights: Weights, size: int, origin: str
) -> tuple[dict[str, Any], Weights]:
    config = unet_config_from_ldm(document, size, origin)
    return config, _converted(lambda: convert_ldm_unet_checkpoint(weights, config), "U-Net", origin)


def _unet_config(document: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = create_unet_diffusers_config_from_ldm(document, {})
    told, widths = config["attention_head_dim"], config["block_out_channels"]
    # For historical reasons diffusers has the number of heads here, of SD 2 and SDXL one for each level.
    heads = told if isinstance(told, list) else [told] * len(widths)
    sound = len(heads) == len(widths) and all(isinstance(each, int) and each > 0 for each in heads)
    if not sound or any(width % each for width, each in zip(widths, heads, strict=True)):
        raise ValueError(f"num_heads is {told}, which does not divide the layers' widths")
    if config.get("class_embed_type") == "projection":
        # Diffusers tells text_time by SDXL's width of the text. Of models that are supported, no other has vectors.
        config |= {"class_embed_type": None, "addition_embed_type": "text_time", "addition_time_embed_dim": 256}
    return config


def vae_config_from_ldm(document: dict[str, Any], scale: float, origin: str) -> dict[str, Any]:
    """Return the diffusers configuration of the VAE that an LDM configuration describes; ``scale`` of its latents.

    Raises: BrokenCheckpoint if that fails.
    """
    config = _configured(lambda: create_vae_diffusers_config_from_ldm(document, {}), "VAE", origin)
    return {**config, "scaling_factor": scale}


def fill_vae(config: dict[str, Any], weights: Weights, origin: str, ignored: list[str]) -> AutoencoderKL:
    """Build the VAE of a diffusers configuration; its weights have the names of either layout, without a prefix.

    Pictures are only ever decoded: if its encoder has no weights, it is left out. Raises: BrokenCheckpoint if that
    fails.
    """
    if not any(".up_blocks." in name for name in weights):
        original = {_original_attention(name): tensor for name, tensor in weights.items()}
        weights = _converted(lambda: convert_ldm_vae_checkpoint(original, config), "VAE", origin)
        ignored += _unused(original, weights)
    vae = build_vae(config, origin)
    if not any(name.startswith("encoder.") for name in weights):
        vae.encoder, vae.quant_conv = torch.nn.Identity(), None
    return fill(vae, weights, "VAE", origin, ignored)


def _original_attention(name: str) -> str:
    match = _MID_ATTENTION.match(name)
    if match is None:
        return name
    word = _OLD_ATTENTION.get(match[2], match[2])
    return f"{match[1]}.{_NEW_ATTENTION.get(word, word)}.{match[3]}"


def _unused(weights: Weights, converted: Weights) -> list[str]:
    """Return the names of weights that have become nothing in a conversion, which makes at most views of them."""
    used = {tensor.untyped_storage().data_ptr() for tensor in converted.values()}
    return [name for name, t in weights.items() if not t.is_meta and t.untyped_storage().data_ptr() not in used]


def build_unet(config: dict[str, Any], origin: str) -> UNet2DConditionModel:
    """Build an empty U-Net (without memory) from a diffusers configuration. Raises: BrokenCheckpoint if that fails."""
    return _configured(lambda: UNet2DConditionModel.from_config(config), "U-Net", origin)


def build_vae(config: dict[str, Any], origin: str) -> AutoencoderKL:
    """Build an empty VAE (without memory) from a diffusers configuration. Raises: BrokenCheckpoint if that fails."""
    return _configured(lambda: AutoencoderKL.from_config(config), "VAE", origin)


def build_text_encoder(config: dict[str, Any], origin: str, *, projection: bool = False) -> TextModel:
    """Build an empty CLIP text encoder (without memory) from its own ``config.json``, or that of a whole CLIP model.

    ``projection``: whether it also projects a prompt's embedding. Raises: BrokenCheckpoint if that fails.
    """
    kind: type[TextModel] = CLIPTextModelWithProjection if projection else CLIPTextModel
    return _configured(lambda: kind(CLIPTextConfig(**text_settings(config))), "text encoder", origin)


def text_from_open_clip(weights: Weights, origin: str, *, projection: bool) -> Weights:
    """Return the weights of an OpenCLIP text encoder by transformers' names; the prefix is taken off already.

    ``projection``: whether that of a prompt's embedding is wanted. Raises: BrokenCheckpoint if weights are missing.
    """
    return _converted(lambda: clip_names(weights, projection=projection), "text encoder", origin)


def text_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the text encoder: of the library's many other settings, some are lists of any length.

    ``config``: its own ``config.json``, or that of a whole CLIP model.
    """
    inner = config.get("text_config")
    config = inner if isinstance(inner, dict) else config
    return {name: config[name] for name in _TEXT_SETTINGS if name in config}


def noise_schedule(config: dict[str, Any], origin: str) -> torch.Tensor:
    """Return alpha_bar_t of a training schedule, from DDPM's settings. Raises: BrokenCheckpoint if there is none.

    With ``rescale_betas_zero_snr`` the levels are stretched to a last one without picture (Lin et al. 2023, Algorithm
    1), where alpha_bar is ``LEAST_ALPHA_BAR`` instead of 0: the picture is had from the noise by dividing by its root.
    """
    try:
        alphas: torch.Tensor = DDPMScheduler(**config).alphas_cumprod
        if config.get("rescale_betas_zero_snr"):
            alphas = alphas.clamp_min(LEAST_ALPHA_BAR)
        sound = bool(((alphas > 0) & (alphas < 1)).all()) and bool((alphas.diff() < 0).all())
    except Exception as error:  # of the library, which checks little
        raise BrokenCheckpoint(
            f"{origin}: the noise schedule cannot be used ({type(error).__name__}: {error}). Correct it."
        ) from error
    if not sound:
        raise BrokenCheckpoint(f"{origin}: the noise schedule does not go from pictures to noise. Correct it.")
    return alphas


def fill(model: Part, weights: Weights, part: str, origin: str, ignored: list[str]) -> Part:
    """Give an empty model its weights, without copying them.

    The names of weights that have no place in it are added to ``ignored``. Raises: BrokenCheckpoint if a weight is
    missing, has another shape, or belongs to a layer beyond those of the model.
    """
    # Versions of transformers differ in the prefix text_model. and in whether position_ids are stored.
    expected = {_plain(name): (name, tensor.shape) for name, tensor in model.state_dict().items()}
    given = {_plain(name): tensor for name, tensor in weights.items() if not name.endswith("position_ids")}
    # Shapes first: with a wrong configuration names are missing or left over as well, which explains less.
    for plain, tensor in given.items():
        if plain in expected:
            given[plain] = tensor = _shaped(tensor, expected[plain][1])
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
    alike = {_numbers_apart(plain) for plain in expected}
    beyond = [plain for plain in surplus if _numbers_apart(plain) in alike]
    if beyond:
        raise BrokenCheckpoint(
            f"{origin} has {len(beyond)} weights of layers that its {part}'s configuration does not have, "
            f"such as {beyond[0]}. Put the model's own .yaml beside it, or choose another checkpoint."
        )
    ignored += surplus
    found = {expected[plain][0]: tensor for plain, tensor in given.items() if plain in expected}
    model.load_state_dict(found, strict=False, assign=True)
    _number_positions(model)
    return model


def _shaped(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the tensor in this shape if only ones at the end differ: a 1x1 convolution is a linear layer."""
    return tensor.reshape(shape) if _without_ones(tensor.shape) == _without_ones(shape) else tensor


def _without_ones(shape: torch.Size) -> tuple[int, ...]:
    sides = list(shape)
    while len(sides) > 1 and sides[-1] == 1:
        sides.pop()
    return tuple(sides)


def _numbers_apart(name: str) -> str:
    return re.sub(r"\d+", "#", name)


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
