"""One cell of the grid: a method on a target set with a seed. Plain data, so that it can go to another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from erasure.bench.suite import SuiteOptions, TargetSet, digest
from erasure.bench.variant import Variant
from erasure.config.settings import EraseConfig
from erasure.config.values import BEFORE, config_from_dict
from erasure.file_hashes import sha256_of_files


@dataclass(frozen=True)
class Bench:
    """What all cells of a grid share. Everything is written below ``folder``; ``settings`` apply to every cell."""

    suite: str
    checkpoint: Path
    folder: Path
    device: str = "cpu"
    threads: int = 0  # of torch; 0: torch's own choice
    options: SuiteOptions = field(default_factory=SuiteOptions)
    settings: Mapping[str, object] = field(default_factory=dict)
    picture_device: str = ""  # where pictures are drawn and judged; "": the training device

    @property
    def devices(self) -> tuple[str, str]:
        """Return the device for training and the one for pictures.

        A small model trains faster on a CPU, but draws large batches faster on a GPU.
        """
        return self.device, self.picture_device or self.device


@dataclass(frozen=True)
class Cell:
    """One run of the bench: a variant on a target set with a seed."""

    bench: Bench
    set: str
    variant: Variant
    seed: int

    def config(self, target_set: TargetSet) -> EraseConfig:
        """Settle the config from the settings of the target set, then the bench, then the variant.

        Raises: ConfigError if they do not make a valid config.
        """
        values = {
            "save_every": 200,
            "judged_words": 0,  # the suite's own classifiers judge
            **target_set.settings,
            **self.bench.settings,
            **self.variant.settings(target_set.erase),
        }
        return config_from_dict({**values, "erase": target_set.erase, "seed": self.seed})

    def title(self) -> str:
        """Return the cell's name for people."""
        return f"{self.variant.name} on {self.set}, seed {self.seed}"


def config_key(config: EraseConfig, sha256: str) -> str:
    """Return a key that differs wherever the trained weights would, apart from the seed.

    How often previews and states are saved, and how many words are judged, does not count: it changes no weights. A
    setting that earlier versions did not have counts only if it does what they did not do, so that rows stay current. A
    vocabulary file counts by its contents. Raises: OSError if it cannot be read.
    """
    unseen = ("seed", "save_every", "preview_every", "judged_words")
    values = {k: v for k, v in config.to_dict().items() if k not in unseen and not (k in BEFORE and v == BEFORE[k])}
    if config.vocabulary_file:
        values["vocabulary_file"] = sha256_of_files([Path(config.vocabulary_file)])
    return digest([values, sha256])[:8]


def cell_name(cell: Cell, key: str) -> str:
    """Return a readable folder name that is safe on every system."""
    name = "".join(c if c.isalnum() or c in "-+." else "_" for c in cell.variant.name)
    return f"{cell.set}--{name[:60]}--{cell.seed}--{key}"
