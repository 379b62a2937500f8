"""One cell of the grid: a method on a target set with a seed; plain data, so that it can go to another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erasure.bench.suite import SuiteOptions, TargetSet, digest
from erasure.bench.variant import Variant
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict


@dataclass(frozen=True)
class Bench:
    """What all cells of a grid share. ``folder`` holds everything that is made; ``settings`` go to every config."""

    suite: str
    checkpoint: Path
    folder: Path
    device: str = "cpu"
    threads: int = 0  # of torch; 0: torch's own choice
    options: SuiteOptions = field(default_factory=SuiteOptions)
    settings: Mapping[str, Any] = field(default_factory=dict)
    picture_device: str = ""  # where pictures are drawn and measured; "": where training is

    @property
    def devices(self) -> tuple[str, str]:
        """Of training, of pictures. A small model trains faster on a CPU, and still draws in large batches on a GPU."""
        return self.device, self.picture_device or self.device


@dataclass(frozen=True)
class Cell:
    bench: Bench
    set: str
    variant: Variant
    seed: int

    def config(self, target_set: TargetSet) -> EraseConfig:
        """Defaults, then the suite's, the bench's and the variant's settings. Raises: ConfigError."""
        values = {
            "save_every": 200,
            **target_set.settings,
            **self.bench.settings,
            **self.variant.settings(target_set.erase),
        }
        return config_from_dict({**values, "erase": target_set.erase, "seed": self.seed})

    def title(self) -> str:
        return f"{self.variant.name} on {self.set}, seed {self.seed}"


def config_key(config: EraseConfig, sha256: str) -> str:
    """Two keys differ where the trained weights would; the seed and what is only looked at are left out."""
    values = {k: v for k, v in config.to_dict().items() if k not in ("seed", "save_every", "preview_every")}
    return digest([values, sha256])[:8]


def cell_name(cell: Cell, key: str) -> str:
    """A folder name: readable, and safe on every system."""
    name = "".join(c if c.isalnum() or c in "-+." else "_" for c in cell.variant.name)
    return f"{cell.set}--{name[:60]}--{cell.seed}--{key}"
