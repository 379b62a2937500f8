"""A tiny randomly initialised model of the SD 2 layout, as one file and as a diffusers folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from emoji_sd.original_layout import open_clip_state, unet_and_vae
from erasure.families.sd2 import SD2
from tests import tiny

OPEN_CLIP = "cond_stage_model.model."
PAD = "!"
LAYERS = 3  # the last of which is not run
WIDTH = 32
HEADS = (1, 2, 2, 2)


def build_unet(**changes: Any) -> UNet2DConditionModel:
    """A U-Net of the SD 2 layout: heads by level, linear projections."""
    sizes = tiny.all_layers_config["unet"]
    return tiny.build_unet(sizes, attention_head_dim=list(HEADS), use_linear_projection=True, **changes)


def text_config(layers: int = LAYERS) -> CLIPTextConfig:
    """The configuration of a text encoder with so many layers."""
    return CLIPTextConfig(
        vocab_size=49408,
        max_position_embeddings=77,
        hidden_act="gelu",
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
    )


def build(seed: int = 0) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """The three parts with random weights, the text encoder with all of its layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae = build_unet(), tiny.build_vae(tiny.tiny_config["vae"])
        text = CLIPTextModel(text_config())
        for name, weight in text.named_parameters():
            if name.endswith("bias"):  # zeros would hide a mistake
                torch.nn.init.normal_(weight, std=0.1)
    for part in (unet, vae, text):
        part.eval().requires_grad_(False)
    return unet, vae, text


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """All weights in the original layout."""
    unet, vae, text = build(seed)
    texts = {**open_clip_state(text.state_dict()), "text_projection": torch.eye(WIDTH)}
    named = unet_and_vae(unet, vae) | {OPEN_CLIP + name: tensor for name, tensor in texts.items()}
    return {name: tensor.contiguous().clone() for name, tensor in named.items()}


def ldm_config(prediction: str | None = None, text_folder: str = "sd2-text") -> dict[str, Any]:
    """The LDM configuration; ``prediction``: LDM's word for what is predicted, None to leave it out."""
    document: dict[str, Any] = yaml.safe_load(SD2.yaml.read_text(encoding="utf-8"))
    parameters = document["model"]["params"]
    config = tiny.ldm_config(tiny.all_layers_config)["model"]["params"]
    parameters["image_size"] = config["image_size"]
    parameters["first_stage_config"] = config["first_stage_config"]
    unet = parameters["unet_config"]["params"]
    sizes = config["unet_config"]["params"]
    unet.update({name: sizes[name] for name in ("model_channels", "channel_mult", "num_res_blocks")})
    unet.update(num_head_channels=WIDTH, context_dim=WIDTH)
    parameters["cond_stage_config"]["params"]["version"] = text_folder
    if prediction is not None:
        parameters["parameterization"] = prediction
    return document


def write_tokenizer(folder: Path) -> None:
    """The tokenizer's files, as SD 2's folders have them: with another padding."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in tiny.TOKENIZER_FILES:
        shutil.copy(tiny.CLIP / name, folder / name)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "pad_token": PAD}), encoding="utf-8")
    path = folder / "special_tokens_map.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "pad_token": PAD}), encoding="utf-8")


def checkpoint(
    folder: Path,
    prediction: str | None = "eps",
    *,
    name: str = "sd2",
    weights: dict[str, torch.Tensor] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write ``<name>.safetensors``, its ``.yaml`` and the text folder ``<name>-text``; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file(state() if weights is None else weights, path, metadata={"format": "pt", **(metadata or {})})
    document = ldm_config(prediction, f"{name}-text")
    path.with_suffix(".yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    write_tokenizer(folder / f"{name}-text")
    text_config().save_pretrained(folder / f"{name}-text")
    return path


def diffusers_folder(folder: Path, prediction: str = "epsilon", *, zero_snr: bool = False) -> Path:
    """Write the same models as a diffusers folder, whose text encoder ends with the layer that is read."""
    unet, vae, text = build()
    short = CLIPTextModel(text_config(LAYERS - 1))
    known = short.state_dict()
    short.load_state_dict({name: tensor for name, tensor in text.state_dict().items() if name in known})
    parts = {"unet": unet, "vae": vae, "text_encoder": short}
    for name, part in parts.items():
        part.save_pretrained(folder / name, safe_serialization=True)
    write_tokenizer(folder / "tokenizer")
    DDIMScheduler(
        **tiny.SCHEDULE, clip_sample=False, steps_offset=1, prediction_type=prediction, rescale_betas_zero_snr=zero_snr
    ).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(tiny.PIPELINE), encoding="utf-8")
    return folder


def unet_weights(path: Path) -> dict[str, torch.Tensor]:
    """The U-Net's tensors of a file in the original layout."""
    return {name: tensor for name, tensor in load_file(path).items() if name.startswith(SD2.parts.unet)}
