"""The latent source that a config names."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.model.model import Model
from erasure.training.latents.fresh import FreshLatents
from erasure.training.latents.noised_latents import NoiseLatents, PictureLatents
from erasure.training.latents.replay import ReplayLatents
from erasure.training.latents.source import LatentSource


def choose_latent_source(model: Model, config: EraseConfig) -> LatentSource:
    if config.latents == "noise":
        return NoiseLatents(model, config)
    if config.latents == "pictures":
        return PictureLatents(model, config)
    return FreshLatents(model, config) if config.latents == "fresh" else ReplayLatents(model, config)
