"""emoji-SD: a miniature Stable Diffusion 1.x that ships with the project, and the classifier that judges it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emoji_sd.classifier import Judge

FOLDER = Path(__file__).parent / "model"
MODEL = FOLDER / "emoji-sd.safetensors"


def load_classifier(folder: Path = FOLDER) -> Judge:
    """Load the classifier that ships beside the model."""
    from emoji_sd.classifier import load_classifier as load

    return load(folder / "classifier.safetensors")
