"""What a bench measures: target sets, the pictures drawn for each, and who judges them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from erasure.errors import ConfigError
from erasure.evaluate.recognition import Ranks
from erasure.evaluate.spread import spread
from erasure.model.draw_settings import DrawSettings


@dataclass(frozen=True)
class SuiteOptions:
    """What may be chosen about a suite; ``None`` and 0: the suite's own."""

    pictures_per_concept: int | None = None  # per concept and style
    limit: int = 0  # at most so many pictures of a group, spread over its concepts
    steps: int | None = None  # DDIM
    guidance: float | None = None
    pixels: int = 0
    batch: int | None = None
    classifier: str = ""  # file or folder
    random_classifier: bool = False
    metrics: tuple[str, ...] = ()  # names of bench/metrics.py
    clip_model: str = ""


@dataclass(frozen=True)
class Shot:
    """A picture to be drawn; ``name`` says which prompt and seed, and is its place below a folder of pictures."""

    name: str
    prompt: str
    seed: int
    label: str  # what the classifier calls it


@dataclass(frozen=True)
class Group:
    """Pictures judged together: ``name`` "ESR" is the share *not* recognised, any other the share recognised."""

    name: str
    shots: tuple[Shot, ...]
    judge: str = "concept"
    ks: tuple[int, ...] = (1, 5)

    @property
    def erased(self) -> bool:
        return self.name == "ESR"

    def limited(self, count: int) -> Group:
        return replace(self, shots=tuple(spread(self.shots, count))) if count else self


@dataclass(frozen=True)
class TargetSet:
    """Concepts erased at once. ``family``: sets that share a table; ``settings``: changes of the config."""

    name: str
    family: str
    erase: tuple[str, ...]
    groups: tuple[Group, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def shots(self) -> list[Shot]:
        """All pictures of the set, each once."""
        return list({shot.name: shot for group in self.groups for shot in group.shots}.values())


@dataclass(frozen=True)
class Suite:
    name: str
    sets: tuple[TargetSet, ...]
    draw_settings: DrawSettings
    judges: Callable[[], dict[str, Ranks]]
    judge_name: str  # told in the report
    checkpoint: Path | None = None  # used where none is given

    def set(self, name: str) -> TargetSet:
        """Raises: ConfigError."""
        for target_set in self.sets:
            if target_set.name == name:
                return target_set
        raise ConfigError(
            [f"suite {self.name} has no target set {name!r}; it has {', '.join(s.name for s in self.sets)}"]
        )

    def drawing_key(self) -> str:
        """Names a folder of pictures: two keys differ where the pictures would."""
        drawn = {key: value for key, value in asdict(self.draw_settings).items() if key != "batch"}
        return digest({"suite": self.name, **drawn})[:8]

    def evaluation_key(self, target_set: TargetSet, options: SuiteOptions) -> str:
        """Two keys differ where measured values would."""
        pictures = [(group.name, group.judge, group.ks, [s.name for s in group.shots]) for group in target_set.groups]
        return digest([self.drawing_key(), pictures, self.judge_name, options.metrics, Path(options.clip_model).name])[
            :8
        ]


def digest(value: Any) -> str:
    """sha256 of plain JSON, the same whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
