"""Tiny randomly initialised models of the SD 1.x layout, and the files they come from.

The key names are those of the real thing (see ``UNET_KEYS`` and ``VAE_KEYS`` below), only the widths differ.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from erasure.core.checkpoint import CheckpointInfo
from erasure.core.models import Models

DATA = Path(__file__).parents[1] / "erasure" / "data"
CLIP = DATA / "clip-vit-large-patch14"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

# The three parts' configurations, tiny and as SD 1.x has them.
tiny_config: dict[str, dict[str, Any]] = {
    "unet": {"sample_size": 8, "widths": (32, 64, 64, 64), "context": 32, "heads": 4},
    "vae": {"sample_size": 64, "widths": (32, 32, 32, 32)},
    "text": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
}
full_size_config: dict[str, dict[str, Any]] = {
    "unet": {"sample_size": 64, "widths": (320, 640, 1280, 1280), "context": 768, "heads": 8},
    "vae": {"sample_size": 512, "widths": (128, 256, 512, 512)},
    "text": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
}


def build_unet(config: dict[str, Any], **changes: Any) -> UNet2DConditionModel:
    """A U-Net of the SD 1.x layout; ``changes`` replace constructor arguments (say ``in_channels=9``)."""
    arguments = {
        "sample_size": config["sample_size"],
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": config["widths"],
        "layers_per_block": 2,
        "cross_attention_dim": config["context"],
        "attention_head_dim": config["heads"],
    }
    return UNet2DConditionModel(**{**arguments, **changes})


def build_vae(config: dict[str, Any]) -> AutoencoderKL:
    """A VAE of the SD 1.x layout."""
    return AutoencoderKL(
        sample_size=config["sample_size"],
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=config["widths"],
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.18215,
    )


def build_text_encoder(config: dict[str, Any]) -> CLIPTextModel:
    """A CLIP text encoder with CLIP's real vocabulary."""
    shared = {"vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "quick_gelu"}
    return CLIPTextModel(CLIPTextConfig(**shared, **config))


def build_tiny_models(seed: int = 0) -> Models:
    """The three tiny parts with random weights, frozen; its ``info`` names a file that does not exist."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae = build_unet(tiny_config["unet"]), build_vae(tiny_config["vae"])
        text_encoder = build_text_encoder(tiny_config["text"])
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False)
    info = CheckpointInfo(
        path=Path("tiny.safetensors"),
        name="tiny",
        layout="original",
        config=Path("tiny.yaml"),
        prediction_type="epsilon",
        has_ema=False,
    )
    tokenizer = CLIPTokenizerFast.from_pretrained(CLIP)
    return Models(unet, vae, text_encoder, tokenizer, info, DDIMScheduler(**SCHEDULE).alphas_cumprod)


# Names in the original layout by those in the diffusers layout.
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
    """The original layout's name of a diffusers U-Net parameter, without ``model.diffusion_model.``"""
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
    block = (
        f"input_blocks.{1 + 3 * level + layer}" if side == "down" else f"output_blocks.{3 * level + layer}"
    )
    return f"{block}.{0 if kind == 'resnets' else 1}{_inner(rest)}"


def _inner(rest: str) -> str:
    head, _, tail = rest.removeprefix(".").partition(".")
    return f".{_RESNET.get(head, head)}.{tail}" if tail else rest


def vae_key(key: str) -> str:
    """The original layout's name of a diffusers VAE parameter, without ``first_stage_model.``"""
    for pattern, name in _VAE_NAMES:
        key = re.sub(pattern, name, key)
    return re.sub(r"^decoder\.up\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}", key)


def original_state_dict(models: Models) -> dict[str, torch.Tensor]:
    """All weights under the names of the original single-file layout."""
    state = {f"model.diffusion_model.{unet_key(k)}": v for k, v in models.unet.state_dict().items()}
    for key, value in models.vae.state_dict().items():
        attention = re.search(r"attentions\.0\.to_\w+(\.0)?\.weight$", key)  # 1x1 convolutions there
        state[f"first_stage_model.{vae_key(key)}"] = value[..., None, None] if attention else value
    for key, value in models.text_encoder.state_dict().items():
        if not key.endswith("position_ids"):
            state[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    return {key: value.contiguous() for key, value in state.items()}


def ldm_config(config: dict[str, dict[str, Any]], text_folder: str | None = None) -> dict[str, Any]:
    """The LDM configuration (the ``.yaml`` beside a checkpoint) of models built from ``config``."""
    document = yaml.safe_load((DATA / "sd1.yaml").read_text(encoding="utf-8"))
    parameters = document["model"]["params"]
    unet, vae = config["unet"], config["vae"]
    base = unet["widths"][0]
    parameters["image_size"] = unet["sample_size"]
    parameters["unet_config"]["params"].update(
        model_channels=base,
        channel_mult=[width // base for width in unet["widths"]],
        num_heads=unet["heads"],
        context_dim=unet["context"],
    )
    channels = vae["widths"][0]
    parameters["first_stage_config"]["params"]["ddconfig"].update(
        ch=channels, ch_mult=[width // channels for width in vae["widths"]], resolution=vae["sample_size"]
    )
    if text_folder is not None:
        parameters["cond_stage_config"]["params"] = {"version": text_folder}
    return document


def write_text_folder(folder: Path, text_encoder: CLIPTextModel) -> None:
    """``config.json`` and the tokenizer's files, as the yaml's ``version`` folder has them."""
    folder.mkdir(parents=True, exist_ok=True)
    text_encoder.config.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, folder / name)


def tiny_checkpoint(
    folder: Path, *, seed: int = 0, name: str = "tiny", dtype: torch.dtype | None = None
) -> Path:
    """Write ``<name>.safetensors``, its ``.yaml`` and the text folder ``<name>-text``; returns the first."""
    models = build_tiny_models(seed)
    folder.mkdir(parents=True, exist_ok=True)
    state = original_state_dict(models)
    path = folder / f"{name}.safetensors"
    save_file({k: v.to(dtype or v.dtype) for k, v in state.items()}, path, metadata={"format": "pt"})
    document = ldm_config(tiny_config, f"{name}-text")
    path.with_suffix(".yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    write_text_folder(folder / f"{name}-text", models.text_encoder)
    return path


def tiny_diffusers_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write the same models in the diffusers layout below ``folder``; returns the folder."""
    models = build_tiny_models(seed)
    for part, subfolder in (
        (models.unet, "unet"),
        (models.vae, "vae"),
        (models.text_encoder, "text_encoder"),
    ):
        part.save_pretrained(folder / subfolder, safe_serialization=True)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, folder / "tokenizer" / name)
    DDIMScheduler(**SCHEDULE, clip_sample=False, steps_offset=1).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder
