"""How a checkpoint is opened where that leaves a choice. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Ema = Literal["auto", "plain", "averaged"]


@dataclass(frozen=True)
class Opening:
    """Which weights of a checkpoint are taken, and what decodes its pictures.

    ``ema``: of a U-Net that has averaged (EMA) weights beside plain ones, the ``plain`` ones, the ``averaged`` ones, or
    those that AUTOMATIC1111 draws with (``auto``): plain, unless the yaml beside the file says ``use_ema: true``.
    ``vae``: a VAE in place of the checkpoint's own; ``spare_vae``: one for a checkpoint that has none, or that cannot
    decode. Each is a file, or a folder of the diffusers layout.
    """

    ema: Ema = "auto"
    vae: Path | None = None
    spare_vae: Path | None = None


AS_DRAWN = Opening()
"""The default."""
