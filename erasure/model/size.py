"""How large a checkpoint's parts are, from its headers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.model.diffusers_folder import part_folder, read_json, weight_files
from erasure.model.kinds import TEXT, UNET, VAE
from erasure.model.ldm_config import config_beside, read_ldm_config, sample_size
from erasure.model.weights_file import open_weights


@dataclass(frozen=True)
class ModelSize:
    """Numbers of weights, and the side in pixels of the pictures that it was made for."""

    unet: int
    text_encoder: int
    vae: int
    pixels: int


def model_size(checkpoint: Path) -> ModelSize:
    """Raises: CheckpointError; ValueError, KeyError or TypeError for a configuration that makes no sense."""
    if checkpoint.is_dir():
        return _of_folder(checkpoint)
    shapes = open_weights(checkpoint).shapes
    unet, text, vae = (_weights(shapes, prefix) for prefix in (UNET, TEXT, VAE))
    document = read_ldm_config(config_beside(checkpoint))
    decoder = document["model"]["params"]["first_stage_config"]["params"].get("ddconfig", {})
    return ModelSize(unet, text, vae, sample_size(document) * _factor(decoder.get("ch_mult", (1, 2, 4, 4))))


def _of_folder(folder: Path) -> ModelSize:
    sizes = {
        part: sum(_weights(open_weights(file).shapes, "") for file in weight_files(folder, part))
        for part in ("unet", "text_encoder", "vae")
    }
    unet = read_json(part_folder(folder, "unet") / "config.json")
    vae = read_json(part_folder(folder, "vae") / "config.json")
    pixels = int(unet.get("sample_size") or 64) * _factor(vae.get("block_out_channels", (1, 2, 4, 4)))
    return ModelSize(sizes["unet"], sizes["text_encoder"], sizes["vae"], pixels)


def _weights(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))


def _factor(levels: Any) -> int:
    """Pixels per latent along one side."""
    return int(2 ** (len(levels) - 1))
