"""Maps diffusers' weight names to those of the original single-file layout of Stable Diffusion 1.x."""

from __future__ import annotations

import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
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


def unet_key(key: str) -> str:
    """Return the original name of a diffusers U-Net parameter, without ``model.diffusion_model.``"""
    for diffusers_name, original in _UNET_ENDS.items():
        if key.startswith(diffusers_name + "."):
            return original + _inner(key[len(diffusers_name) :])
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)(\..+)", key)
    assert match, key
    side, level, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{3 * (level + 1)}.0.op{rest.removeprefix('.conv')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}{rest}"
    block = f"input_blocks.{1 + 3 * level + layer}" if side == "down" else f"output_blocks.{3 * level + layer}"
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
    """Return all weights of the three parts by their original names."""
    state = {f"model.diffusion_model.{unet_key(k)}": v for k, v in unet.state_dict().items()}
    for key, value in vae.state_dict().items():
        attention = re.search(r"attentions\.0\.to_\w+(\.0)?\.weight$", key)  # 1x1 convolutions in the original
        state[f"first_stage_model.{vae_key(key)}"] = value[..., None, None] if attention else value
    for key, value in text_encoder.state_dict().items():
        if not key.endswith("position_ids"):
            state[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    return {key: value.contiguous() for key, value in state.items()}
