"""The latent source that a config names."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.training.latents.fresh import FreshLatents
from erasure.training.latents.noised_latents import NoiseLatents, PictureLatents
from erasure.training.latents.replay import ReplayLatents
from erasure.training.latents.source import LatentSource, Sampler


def latent_source(sampler: Sampler, config: EraseConfig) -> LatentSource:
    if config.latents == "noise":
        return NoiseLatents(sampler, config)
    if config.latents == "pictures":
        return PictureLatents(sampler, config)
    return FreshLatents(sampler, config) if config.latents == "fresh" else ReplayLatents(sampler, config)
