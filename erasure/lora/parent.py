"""A LoRA that another one is made of. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Parent:
    """A LoRA file at a weight, as in ``<lora:name:weight>``; ``erases``: its concepts, () if they are not known."""

    path: Path
    weight: float = 1.0
    erases: tuple[str, ...] = ()
