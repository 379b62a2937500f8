"""What a checkpoint is, read from its headers alone: SD 1.x or not, which layout, which configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CheckpointInfo:
    """An SD 1.x text-to-image checkpoint that can be loaded.

    ``path`` is the file, or the folder of the diffusers layout; ``name`` its stem. ``config`` is the LDM yaml in use
    (``<stem>.yaml`` beside the file, else the shipped SD 1 one), or ``model_index.json`` for the diffusers layout.
    """

    path: Path
    name: str
    layout: Literal["original", "diffusers"]
    config: Path
    prediction_type: Literal["epsilon"]
    has_ema: bool
