"""What a model of a family takes at full size, as measured. Forecasts for others are scaled from it."""

from __future__ import annotations

from dataclasses import dataclass

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class UpdateMemory:
    """Peak of one update in bytes, of rank 8 and batch 1, less weights and libraries.

    In fp32 and in half precision, each without and with gradient checkpointing.
    """

    fp32: tuple[float, float]
    half: tuple[float, float]

    def of(self, *, half: bool, checkpointing: bool) -> float:
        return (self.half if half else self.fp32)[checkpointing]


@dataclass(frozen=True)
class FullSize:
    """Measured at ``pixels``, the side of the pictures it was made for.

    ``unet``, ``vae`` and ``text_encoder``: weights. ``prompt_bytes``: of a prompt's states in fp32.
    ``rows``: U-Net rows without gradients that take about the memory of an update with gradient checkpointing.
    ``cross_attention`` and ``all_layers``: an update with a LoRA there. ``decoding``: bytes that the VAE takes for one
    picture in fp32, beyond its weights. ``cpu_seconds``: of a U-Net row on two CPU cores. ``state_per_rank``: bytes on
    disk for each rank of a LoRA on all layers with its two moments, twice while a state is written.
    """

    pixels: int
    unet: int
    vae: int
    text_encoder: int
    prompt_bytes: int
    rows: int
    cross_attention: UpdateMemory
    all_layers: UpdateMemory
    decoding: float
    cpu_seconds: float
    state_per_rank: int
