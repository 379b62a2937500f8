"""The VAE that is chosen in the settings, or lies beside a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

chosen: str | None = None
asked: list[str] = []


@dataclass
class VaeResolution:
    vae: str | None = None
    source: str | None = None
    resolved: bool = True


def resolve_vae(checkpoint_file: str) -> VaeResolution:
    asked.append(checkpoint_file)
    return VaeResolution(chosen)
