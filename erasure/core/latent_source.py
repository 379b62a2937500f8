"""The latent source that a config names."""

from __future__ import annotations

from erasure.config import EraseConfig
from erasure.core.latents import FreshLatents, LatentSource, ReplayLatents, Sampler
from erasure.core.noised_latents import NoiseLatents, PictureLatents


def latent_source(sampler: Sampler, config: EraseConfig) -> LatentSource:
    if config.latents == "noise":
        return NoiseLatents(sampler, config)
    if config.latents == "pictures":
        return PictureLatents(sampler, config)
    return FreshLatents(sampler, config) if config.latents == "fresh" else ReplayLatents(sampler, config)
