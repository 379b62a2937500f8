"""What a bench measures: target sets, the pictures drawn for each, and the classifiers that judge them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from erasure.errors import ConfigError
from erasure.evaluate.appearance import Certainty
from erasure.evaluate.recognition import Ranks, erasing_success, preserving_success
from erasure.model.draw_settings import DrawSettings
from erasure.spread import spread


@dataclass(frozen=True)
class SuiteOptions:
    """What can be chosen about a suite; with ``None`` or 0 the suite decides."""

    pictures_per_concept: int | None = None  # per concept and style
    limit: int = 0  # at most this many pictures per group, spread over its concepts; 0: all
    steps: int | None = None  # DDIM
    guidance: float | None = None
    pixels: int = 0
    batch: int | None = None
    classifier: str = ""  # file or folder
    random_classifier: bool = False
    metrics: tuple[str, ...] = ()  # names of bench/metrics.py
    clip_model: str = ""
    near_words: int = 20  # per target, for the metric "near"
    attacks: tuple[str, ...] = ()  # for the metric "attacks"; none: all
    attack_rows: int = 6000  # for the search over words


@dataclass(frozen=True)
class Shot:
    """A picture to be drawn. ``name`` identifies prompt and seed, and is its path below a folder of pictures."""

    name: str
    prompt: str
    seed: int
    label: str  # the classifier's name for what it shows


@dataclass(frozen=True)
class Group:
    """Pictures judged together: the figure of group "ESR" is the share *not* recognised, else the share recognised.

    ``judge`` names a classifier of the suite. For each k of ``ks``, recognised means among the classifier's first k.
    """

    name: str
    shots: tuple[Shot, ...]
    judge: str = "concept"
    ks: tuple[int, ...] = (1, 5)

    @property
    def erased(self) -> bool:
        return self.name == "ESR"

    def figures(self, ranks: Sequence[int]) -> dict[str, float]:
        """Return the figure of each k, in %, from the ranks of the pictures' labels: ``{"ESR-1": 97.5, ...}``."""
        success = erasing_success if self.erased else preserving_success
        return {f"{self.name}-{k}": round(success(ranks, k), 2) for k in self.ks}

    def limited(self, count: int) -> Group:
        """Return the group with at most ``count`` pictures, evenly spaced; 0 keeps all."""
        return replace(self, shots=tuple(spread(self.shots, count))) if count else self


@dataclass(frozen=True)
class TargetSet:
    """Concepts erased at once. Sets of one ``family`` share a table; ``settings`` go into the config."""

    name: str
    family: str
    erase: tuple[str, ...]
    groups: tuple[Group, ...]
    settings: Mapping[str, object] = field(default_factory=dict)

    def shots(self) -> list[Shot]:
        """Return all pictures of the set, each once."""
        return list({shot.name: shot for group in self.groups for shot in group.shots}.values())


@dataclass(frozen=True)
class Suite:
    """A named list of target sets with the way their pictures are drawn and judged."""

    name: str
    sets: tuple[TargetSet, ...]
    draw_settings: DrawSettings
    judges: Callable[[], dict[str, Ranks]]
    judge_name: str  # for the report
    checkpoint: Path | None = None  # used if none is given
    certainties: Callable[[], dict[str, Certainty]] = dict  # of those judges that give probabilities

    def set(self, name: str) -> TargetSet:
        """Return the target set of this name. Raises: ConfigError if there is none."""
        for target_set in self.sets:
            if target_set.name == name:
                return target_set
        raise ConfigError(
            [f"suite {self.name} has no target set {name!r}; choose from {', '.join(s.name for s in self.sets)}"]
        )

    def drawing_key(self) -> str:
        """Return the name of a folder of pictures: it differs wherever the pictures would."""
        drawn = {key: value for key, value in asdict(self.draw_settings).items() if key != "batch"}
        return digest({"suite": self.name, **drawn})[:8]

    def evaluation_key(self, target_set: TargetSet, options: SuiteOptions) -> str:
        """Return a key that differs wherever the measured figures would."""
        pictures = [(group.name, group.judge, group.ks, [s.name for s in group.shots]) for group in target_set.groups]
        measured: list[object] = [options.metrics, Path(options.clip_model).name]
        if "near" in options.metrics:
            measured.append(options.near_words)
        if "attacks" in options.metrics:
            measured += [options.attacks, options.attack_rows]
        return digest([self.drawing_key(), pictures, self.judge_name, *measured])[:8]


def digest(value: object) -> str:
    """Return the sha256 of a value as plain JSON, the same for every order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
