"""Tiny randomly initialised models of the SD 1.x layout, and the files they come from.

The key names are those of the real thing (see ``emoji_sd/original_layout.py``), only the widths differ, and the number
of residual blocks: a call of a tiny U-Net takes as long as it has layers, and most tests ask nothing of how many.
"""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from emoji_sd.original_layout import original_state_dict
from erasure.families.sd1 import SD1
from erasure.model.checkpoint import CheckpointInfo, OriginalFile
from erasure.model.ldm_config import LdmConfig
from erasure.model.parts import ModelParts
from erasure.model.text_reader import TextReader
from erasure.model.weights_file import WeightsFile

DATA = Path(__file__).parents[1] / "erasure" / "data"
CLIP = DATA / "clip-vit-large-patch14"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PIPELINE = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
"""What ``model_index.json`` of a diffusers folder says."""

# The three parts' configurations, tiny and as SD 1.x has them. "blocks": residual blocks of a level on the way down.
tiny_config: dict[str, dict[str, Any]] = {
    "unet": {"sample_size": 8, "widths": (32, 64, 64, 64), "blocks": 1, "context": 32, "heads": 4},
    "vae": {"sample_size": 64, "widths": (32, 32, 32, 32)},
    "text": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
}
# Tiny, with as many layers as SD 1.x has.
all_layers_config = {**tiny_config, "unet": {**tiny_config["unet"], "blocks": 2}}
full_size_config: dict[str, dict[str, Any]] = {
    "unet": {"sample_size": 64, "widths": (320, 640, 1280, 1280), "blocks": 2, "context": 768, "heads": 8},
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
        "layers_per_block": config["blocks"],
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


def build_tiny_models(seed: int = 0, sizes: dict[str, dict[str, Any]] = tiny_config) -> ModelParts:
    """The three tiny parts with random weights, frozen; its ``info`` names a file that does not exist."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae = build_unet(sizes["unet"]), build_vae(sizes["vae"])
        text_encoder = build_text_encoder(sizes["text"])
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False)
    config = LdmConfig(Path("tiny.yaml"), ldm_config(sizes), SD1)
    contents = OriginalFile(WeightsFile(Path("tiny.safetensors"), {}, {}), config)
    info = CheckpointInfo(Path("tiny.safetensors"), "tiny", SD1, contents)
    tokenizer = CLIPTokenizerFast.from_pretrained(CLIP)
    texts = (TextReader(text_encoder, tokenizer, SD1.text_encoders[0]),)
    return ModelParts(unet, vae, texts, info, DDIMScheduler(**SCHEDULE).alphas_cumprod)


def copied(models: ModelParts) -> ModelParts:
    """A fresh copy of the parts, which a test may change."""
    texts = tuple(replace(reader, encoder=deepcopy(reader.encoder)) for reader in models.texts)
    return replace(models, unet=deepcopy(models.unet), vae=deepcopy(models.vae), texts=texts)


def ldm_config(config: dict[str, dict[str, Any]], text_folder: str | None = None) -> dict[str, Any]:
    """The LDM configuration (the ``.yaml`` beside a checkpoint) of models built from ``config``."""
    document: dict[str, Any] = yaml.safe_load((DATA / "sd1.yaml").read_text(encoding="utf-8"))
    parameters = document["model"]["params"]
    unet, vae = config["unet"], config["vae"]
    base = unet["widths"][0]
    parameters["image_size"] = unet["sample_size"]
    parameters["unet_config"]["params"].update(
        model_channels=base,
        channel_mult=[width // base for width in unet["widths"]],
        num_res_blocks=unet["blocks"],
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


def tiny_checkpoint(folder: Path, *, seed: int = 0, name: str = "tiny", dtype: torch.dtype | None = None) -> Path:
    """Write ``<name>.safetensors``, its ``.yaml`` and the text folder ``<name>-text``; returns the first."""
    models = build_tiny_models(seed)
    folder.mkdir(parents=True, exist_ok=True)
    state = original_state_dict(models.unet, models.vae, models.text_encoder)
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
        assert part is not None
        part.save_pretrained(folder / subfolder, safe_serialization=True)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, folder / "tokenizer" / name)
    DDIMScheduler(**SCHEDULE, clip_sample=False, steps_offset=1).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(PIPELINE, indent=2), encoding="utf-8")
    return folder
