"""Memory and time of a family's full-size model, as measured. Forecasts for other sizes are scaled from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class UpdateMemory:
    """Peak memory of one update at rank 8 and batch 1 in bytes, without weights and libraries.

    ``fp32`` and ``half`` precision, each without and with gradient checkpointing.
    """

    fp32: tuple[float, float]
    half: tuple[float, float]

    def of(self, *, half: bool, checkpointing: bool) -> float:
        """Return the peak in one precision, in bytes."""
        return (self.half if half else self.fp32)[checkpointing]


@dataclass(frozen=True)
class FullSize:
    """Measurements at ``pixels``, the side of the pictures that the model was made for.

    ``unet``, ``vae`` and ``text_encoder``: numbers of weights.
    ``prompt_bytes``: size of one prompt's states in fp32.
    ``rows``: U-Net rows without gradients that need about the memory of an update with gradient checkpointing.
    ``cross_attention`` and ``all_layers``: memory of an update with a LoRA on these layers.
    ``decoding``: bytes that the VAE needs to decode one picture in fp32, besides its weights.
    ``cpu_seconds``: time of one U-Net row on two CPU cores.
    ``state_per_rank``: bytes on disk per rank of a LoRA on all layers with Adam's two moments, counted twice because
    the old state is kept until the new one is written.
    ``measured_on``: the model on which memory and time were measured, if it was another family's; "" otherwise.
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
    measured_on: str = ""

    def rows_at_once(self, places: float, unet: int) -> int:
        """Return how many rows without gradients need about the memory of an update with gradient checkpointing.

        ``places``: those of a latent, as a share of the full size's; ``unet``: the number of weights.
        """
        return max(1, int(self.rows / places * math.sqrt(self.unet / max(1, unet))))
