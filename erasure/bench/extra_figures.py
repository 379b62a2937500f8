"""Figures beside recognition that a bench may measure: CLIP scores and LPIPS of each group of pictures (Table 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from erasure.bench.drawing import openers
from erasure.bench.suite import Group, SuiteOptions
from erasure.errors import ConfigError

Figure = Callable[[Group, Path, Path], float]
"""Of a group, with the folders of its pictures before and after."""
METRICS = ("clip", "lpips")


def extra_figures(options: SuiteOptions, device: str) -> dict[str, Figure]:
    """By the name that goes before the group's. Raises: ConfigError, MissingExtra, EvaluationError."""
    unknown = [name for name in options.metrics if name not in METRICS]
    if unknown:
        raise ConfigError([f"there is no metric {name!r}; there are {', '.join(METRICS)}" for name in unknown])
    found: dict[str, Figure] = {}
    if "clip" in options.metrics:
        found["CLIP"] = _clip(options.clip_model, device)
    if "lpips" in options.metrics:
        found["LPIPS"] = _lpips(device)
    return found


def _clip(folder: str, device: str) -> Figure:
    from erasure.evaluate.clip import ClipScore

    if not folder:
        raise ConfigError(["--clip-model: metric 'clip' needs the folder of a CLIP model"])
    score = ClipScore(Path(folder), device=device)

    def mean_score(group: Group, before: Path, after: Path) -> float:
        scores = [score([p()], [s.prompt])[0] for p, s in zip(openers(after, group.shots), group.shots, strict=True)]
        return _mean(scores)

    return mean_score


def _lpips(device: str) -> Figure:
    from erasure.evaluate.distance import Lpips

    distance = Lpips(device=device)

    def mean_distance(group: Group, before: Path, after: Path) -> float:
        pairs = zip(openers(before, group.shots), openers(after, group.shots), strict=True)
        return _mean([distance([one()], [other()])[0] for one, other in pairs])

    return mean_distance


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
