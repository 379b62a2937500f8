"""Maps the weight names of diffusers and transformers to those of the original single-file layouts.

These are CompVis' for Stable Diffusion 1.x, and Stability AI's for 2.x and XL, which have text encoders of OpenCLIP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE_NAMES = [
    (r"^(encoder\.down)_blocks\.(\d)\.resnets\.(\d)", r"\1.\2.block.\3"),
    (r"^(encoder\.down)_blocks\.(\d)\.downsamplers\.0", r"\1.\2.downsample"),
    (r"^(decoder\.up)_blocks\.(\d)\.resnets\.(\d)", r"\1.\2.block.\3"),
    (r"^(decoder\.up)_blocks\.(\d)\.upsamplers\.0", r"\1.\2.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
]


_OPEN_CLIP = [
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"^embeddings\.token_embedding\.weight$", "token_embedding.weight"),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^final_layer_norm\.", "ln_final."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
]
_QUERY = re.compile(r"(.+\.)self_attn\.q_proj\.(weight|bias)$")


def unet_key(key: str, *, lowest_attention: bool = False, depth: int = 2) -> str:
    """Return the original name of a diffusers U-Net parameter, without ``model.diffusion_model.``

    ``lowest_attention``: whether the coarsest level has attention, as in SDXL; in SD 1.x and 2.x it has none.
    ``depth``: residual blocks of a level on the way down (LDM's ``num_res_blocks``), which are followed by a
    downsampler; on the way up there is one more.
    """
    for diffusers_name, original in _UNET_ENDS.items():
        if key.startswith(diffusers_name + "."):
            return original + _inner(key[len(diffusers_name) :])
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)(\..+)", key)
    assert match, key
    side, level, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{(depth + 1) * (level + 1)}.0.op{rest.removeprefix('.conv')}"
    if kind == "upsamplers":
        return f"output_blocks.{(depth + 1) * level + depth}.{1 if level == 0 and not lowest_attention else 2}{rest}"
    place = (depth + 1) * level + layer
    block = f"input_blocks.{1 + place}" if side == "down" else f"output_blocks.{place}"
    return f"{block}.{0 if kind == 'resnets' else 1}{_inner(rest)}"


def _inner(rest: str) -> str:
    head, _, tail = rest.removeprefix(".").partition(".")
    return f".{_RESNET.get(head, head)}.{tail}" if tail else rest


def vae_key(key: str) -> str:
    """Return the original name of a diffusers VAE parameter, without ``first_stage_model.``"""
    for pattern, name in _VAE_NAMES:
        key = re.sub(pattern, name, key)
    return re.sub(r"^decoder\.up\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}", key)


def original_state_dict(
    unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel
) -> dict[str, torch.Tensor]:
    """Return all weights of the three parts by their original names in a file of SD 1.x."""
    state = unet_and_vae(unet, vae)
    for key, value in clip_state(text_encoder.state_dict()).items():
        state[f"cond_stage_model.transformer.text_model.{key}"] = value
    return {key: value.contiguous() for key, value in state.items()}


def unet_and_vae(unet: UNet2DConditionModel, vae: AutoencoderKL) -> dict[str, Tensor]:
    """Return the weights of both by their original names, which are the same in all families."""
    weights = unet.state_dict()
    lowest = any(key.startswith("up_blocks.0.attentions.") for key in weights)
    depth = len({key for key in weights if re.fullmatch(r"down_blocks\.0\.resnets\.\d+\.conv1\.weight", key)})
    named = {unet_key(key, lowest_attention=lowest, depth=depth): value for key, value in weights.items()}
    state = {f"model.diffusion_model.{key}": value for key, value in named.items()}
    for key, value in vae.state_dict().items():
        attention = re.search(r"attentions\.0\.to_\w+(\.0)?\.weight$", key)  # 1x1 convolutions in the original
        state[f"first_stage_model.{vae_key(key)}"] = value[..., None, None] if attention else value
    return state


def clip_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a CLIP text encoder without ``text_model.``, which only some versions have."""
    named = {key.removeprefix("text_model."): value for key, value in weights.items()}
    return {key: value for key, value in named.items() if not key.endswith("position_ids")}


def open_clip_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a CLIP text encoder by OpenCLIP's names, with what its files have besides.

    Queries, keys and values are one matrix there, and ``text_projection`` (d, p) multiplies from the right.
    """
    named: dict[str, Tensor] = {"logit_scale": torch.ones([])}
    given = clip_state(weights)
    for key, value in given.items():
        query = _QUERY.match(key)
        if key == "text_projection.weight":
            named["text_projection"] = value.T
        elif query is not None:
            parts = [given[key.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            named[f"{_open_clip_key(query[1])}attn.in_proj_{query[2]}"] = torch.cat(parts)
        elif not re.search(r"\.[kv]_proj\.", key):
            named[_open_clip_key(key)] = value
    return named


def _open_clip_key(key: str) -> str:
    for pattern, name in _OPEN_CLIP:
        key = re.sub(pattern, name, key)
    return key
