"""Where everything is kept that people make with the program, besides LoRA files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFolder:
    """A host's data folder; neither it nor what is in it need exist yet."""

    path: Path

    @property
    def runs(self) -> Path:
        """A folder for every run."""
        return self.path / "runs"

    @property
    def presets(self) -> Path:
        """The user's own presets, a JSON file each."""
        return self.path / "presets"

    @property
    def vocabularies(self) -> Path:
        """The user's own lists of prompts, a text file each."""
        return self.path / "vocabularies"
