"""Sizes of a checkpoint's parts, from what was already read of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from erasure.model.diffusers_folder import DiffusersFolder
from erasure.model.ldm_config import LdmConfig
from erasure.model.weights_file import WeightsFile


@dataclass(frozen=True)
class ModelSize:
    """Number of weights of each part, and the side in pixels of the pictures that the model was made for."""

    unet: int
    text_encoder: int
    vae: int
    pixels: int


def size_of_file(weights: WeightsFile, config: LdmConfig) -> ModelSize:
    """Return the sizes of a checkpoint in one file."""
    parts = config.family.parts
    unet, text, vae = (_weights([weights], prefix) for prefix in (parts.unet, parts.text, parts.vae))
    return ModelSize(unet, text, vae, config.latent_side * config.pixels_per_latent)


def size_of_folder(folder: DiffusersFolder) -> ModelSize:
    """Return the sizes of a checkpoint in the diffusers layout."""
    unet, vae = (_weights(folder.weights.get(part, ())) for part in ("unet", "vae"))
    text = sum(_weights(folder.weights[encoder.part]) for encoder in folder.family.text_encoders)
    return ModelSize(unet, text, vae, folder.latent_side * folder.pixels_per_latent)


def _weights(files: Iterable[WeightsFile], prefix: str = "") -> int:
    every = (item for file in files for item in file.shapes.items())
    return sum(math.prod(shape) for name, shape in every if name.startswith(prefix))
