"""emoji-SD: miniatures of Stable Diffusion 1.x, 2 and XL that ship with the project, and their classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emoji_sd.classifier import Judge

FOLDER = Path(__file__).parent / "model"
MODEL = FOLDER / "emoji-sd.safetensors"
_OTHERS = ("emoji-sd-2v", "emoji-sdxl")
MINIATURES = tuple(FOLDER.parent / "miniatures" / name / f"{name}.safetensors" for name in _OTHERS)
"""The checkpoints that ship of other families: Stable Diffusion 2 with v-prediction, and XL."""


def load_classifier(folder: Path = FOLDER) -> Judge:
    """Load the classifier that ships beside the model."""
    from emoji_sd.classifier import load_classifier as load

    return load(folder / "classifier.safetensors")
