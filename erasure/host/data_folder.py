"""Where everything is kept that people make with the program, except LoRA files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFolder:
    """A host's data folder; neither it nor its parts need to exist yet."""

    path: Path

    @property
    def runs(self) -> Path:
        """Return the folder that holds a folder for every run."""
        return self.path / "runs"

    @property
    def presets(self) -> Path:
        """Return the folder of the user's presets, a JSON file each."""
        return self.path / "presets"

    @property
    def shared(self) -> Path:
        """Return the folder of LoRAs that were made ready to be passed on, a folder and a zip file each."""
        return self.path / "shared"

    @property
    def vocabularies(self) -> Path:
        """Return the folder of the user's lists of prompts, a text file each."""
        return self.path / "vocabularies"
