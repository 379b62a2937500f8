"""A tiny randomly initialised model of SDXL's layout, and the files it comes from.

The names of its weights are those of the real thing, only widths and depths differ: three levels, the first without
attention, and two text encoders.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizerFast

from emoji_sd.original_layout import clip_state, open_clip_state, unet_and_vae
from erasure.families.sdxl import SDXL
from erasure.model.checkpoint import CheckpointInfo, OriginalFile
from erasure.model.ldm_config import LdmConfig
from erasure.model.parts import ModelParts
from erasure.model.text_reader import TextReader
from erasure.model.weights_file import WeightsFile
from tests import tiny

SIDE, POOLED, WIDTH, LAYERS = 8, 24, 32, 3  # of latents; widths and layers of both text encoders
UNET: dict[str, Any] = {
    "sample_size": SIDE,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, 64, 64),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 4),
    "cross_attention_dim": 2 * WIDTH,
    "projection_class_embeddings_input_dim": POOLED + 6 * 256,
}
FULL_UNET: dict[str, Any] = {
    **UNET,
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "projection_class_embeddings_input_dim": 1280 + 6 * 256,
}
TEXT = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 4}


def build_unet(config: dict[str, Any], **changes: Any) -> UNet2DConditionModel:
    """A U-Net of SDXL's layout; ``changes`` replace constructor arguments."""
    fixed = {"use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256}
    return UNet2DConditionModel(**{**fixed, **config, **changes})


def build_texts() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Both text encoders, with CLIP's real vocabulary."""
    shared = {"vocab_size": 49408, "max_position_embeddings": 77, **TEXT}
    first = CLIPTextModel(CLIPTextConfig(**shared, hidden_act="quick_gelu"))
    return first, CLIPTextModelWithProjection(CLIPTextConfig(**shared, hidden_act="gelu", projection_dim=POOLED))


def build_tiny_xl(seed: int = 0) -> ModelParts:
    """The parts with random weights, frozen; its ``info`` names a file that does not exist."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae, encoders = build_unet(UNET), tiny.build_vae(tiny.tiny_config["vae"]), build_texts()
    vae.register_to_config(scaling_factor=SDXL.vae_scale)
    for part in (unet, vae, *encoders):
        part.eval().requires_grad_(False)
    tokenizers = [CLIPTokenizerFast.from_pretrained(tiny.CLIP) for _ in encoders]
    tokenizers[1].pad_token = "!"
    texts = tuple(map(TextReader, encoders, tokenizers, SDXL.text_encoders))
    config = LdmConfig(Path("tiny.yaml"), ldm_config(), SDXL)
    contents = OriginalFile(WeightsFile(Path("tiny.safetensors"), {}, {}), config)
    info = CheckpointInfo(Path("tiny.safetensors"), "tiny", SDXL, contents)
    return ModelParts(unet, vae, texts, info, DDIMScheduler(**tiny.SCHEDULE).alphas_cumprod)


def ldm_config(text_folders: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration (the ``.yaml`` beside a checkpoint) of the tiny model."""
    document: dict[str, Any] = yaml.safe_load((tiny.DATA / "sdxl.yaml").read_text(encoding="utf-8"))
    parameters = document["model"]["params"]
    parameters["image_size"] = SIDE
    parameters["network_config"]["params"].update(
        model_channels=32,
        channel_mult=[1, 2, 2],
        num_head_channels=16,
        transformer_depth=[1, 1, 2],
        context_dim=2 * WIDTH,
        adm_in_channels=POOLED + 6 * 256,
    )
    channels = tiny.tiny_config["vae"]["widths"][0]
    parameters["first_stage_config"]["params"]["ddconfig"].update(ch=channels, ch_mult=[1, 1, 1, 1], resolution=64)
    for told, folder in zip(parameters["conditioner_config"]["params"]["emb_models"], text_folders, strict=False):
        told["params"]["version"] = folder
    return document


def original_state_dict(models: ModelParts) -> dict[str, Tensor]:
    """All weights by their names in the original layout."""
    assert models.vae is not None
    state = unet_and_vae(models.unet, models.vae)
    first, second = (reader.encoder.state_dict() for reader in models.texts)
    state |= {f"conditioner.embedders.0.transformer.text_model.{k}": v for k, v in clip_state(first).items()}
    state |= {f"conditioner.embedders.1.model.{k}": v for k, v in open_clip_state(second).items()}
    return {key: value.contiguous() for key, value in state.items()}


def tiny_xl_checkpoint(folder: Path, *, seed: int = 0, name: str = "tiny-xl") -> Path:
    """Write ``<name>.safetensors``, its ``.yaml`` and the text folders ``<name>-text`` and ``-text-2``."""
    models = build_tiny_xl(seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file(original_state_dict(models), path, metadata={"format": "pt"})
    folders = (f"{name}-text", f"{name}-text-2")
    path.with_suffix(".yaml").write_text(yaml.safe_dump(ldm_config(folders)), encoding="utf-8")
    for reader, text in zip(models.texts, folders, strict=True):
        tiny.write_text_folder(folder / text, reader.encoder)
        _pad_with(str(reader.tokenizer.pad_token), folder / text)
    return path


def _pad_with(token: str, tokenizer: Path) -> None:
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        told = json.loads((tokenizer / name).read_text(encoding="utf-8"))
        (tokenizer / name).write_text(json.dumps({**told, "pad_token": token}), encoding="utf-8")


def tiny_xl_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write the same model in the diffusers layout below ``folder``; returns the folder."""
    models = build_tiny_xl(seed)
    assert models.vae is not None
    models.unet.save_pretrained(folder / "unet")
    models.vae.save_pretrained(folder / "vae")
    for reader, own in zip(models.texts, SDXL.text_encoders, strict=True):
        reader.encoder.save_pretrained(folder / own.part)
        place = folder / own.tokenizer
        place.mkdir(parents=True)
        for name in tiny.TOKENIZER_FILES:
            shutil.copy(tiny.CLIP / name, place / name)
        _pad_with(str(reader.tokenizer.pad_token), place)
    EulerDiscreteScheduler(**tiny.SCHEDULE, steps_offset=1, timestep_spacing="leading").save_pretrained(
        folder / "scheduler"
    )
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder
