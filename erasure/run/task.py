"""What a run is to do. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.parent import Parent
from erasure.model.opening import AS_DRAWN, Opening
from erasure.run.folder import RunFolder

# Settings that may change when a run is resumed: they say how to train, not what. More steps train on a run that ended.
ADJUSTABLE = (
    "steps",
    "learning_rate",
    "pace",
    "preserve_weight",
    "clip",
    "precision",
    "gradient_checkpointing",
    "save_every",
    "preview_every",
)


@dataclass(frozen=True)
class Task:
    """What a run is given: the checkpoint, the config, and the places for its files."""

    checkpoint: Path
    out: Path
    folder: RunFolder
    config: EraseConfig
    device: str = "cpu"
    overwrite: bool = False
    prompts: int | None = None  # how many prompts its pictures show; None: all
    space: ConceptSpace | None = None  # None: the run measures it
    album: Path | None = None  # a state file with the pictures that were judged for the given space
    even_diverged: bool = False  # the LoRA file is wanted even if training diverged
    opening: Opening = AS_DRAWN  # which weights of the checkpoint, and which VAE
    parents: tuple[Parent, ...] = ()  # LoRAs that training starts from, all together; the config's start is not used
