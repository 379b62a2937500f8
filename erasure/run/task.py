"""What a run is to do. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.run.folder import RunFolder

# Settings that a resumed run may change: they say how to train, not what.
ADJUSTABLE = (
    "learning_rate",
    "preserve_weight",
    "clip",
    "precision",
    "gradient_checkpointing",
    "save_every",
    "preview_every",
)


@dataclass(frozen=True)
class Task:
    """What to erase, from which checkpoint, and where everything goes."""

    checkpoint: Path
    out: Path
    folder: RunFolder
    config: EraseConfig
    device: str = "cpu"
    overwrite: bool = False
    prompts: int | None = None  # how many of the prompts of the previews are drawn; None: all
    space: ConceptSpace | None = None  # None: it is measured
