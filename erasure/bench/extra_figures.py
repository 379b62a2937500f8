"""Measures the figures of :mod:`erasure.bench.metrics` on each group of pictures (Table 4 and Section 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

from erasure.bench.metrics import check_metrics
from erasure.bench.shots import openers
from erasure.bench.suite import Group, SuiteOptions
from erasure.evaluate.appearance import Certainty, appearance_moved, certain_share

Figure = Callable[[Group, Path, Path], float]
"""Takes a group, and the folders of its pictures before and after."""


def extra_figures(
    options: SuiteOptions, device: str, certainties: Callable[[], dict[str, Certainty]] = dict
) -> dict[str, Figure]:
    """Return the chosen figures by name; a column of the tables is "name group", such as ``CLIP ESR``.

    ``certainties``: see :class:`erasure.bench.suite.Suite`; the share of a suite without any is left out.
    Raises: ConfigError for bad options; MissingExtra, EvaluationError if something that a figure needs is missing or
    cannot be used.
    """
    check_metrics(options)
    found: dict[str, Figure] = {}
    if "clip" in options.metrics or "clip-drop" in options.metrics:
        score, drop = _clip(Path(options.clip_model), device)
        found.update({"CLIP": score} if "clip" in options.metrics else {})
        found.update({"CLIP drop": drop} if "clip-drop" in options.metrics else {})
    if "lpips" in options.metrics:
        found["LPIPS"] = _lpips(device)
    if "fid" in options.metrics:
        found["FID"] = _fid(device)
    if "nudity" in options.metrics:
        found.update(_nudity())
    if "pictures" in options.metrics:
        found.update(_pictures(certainties()))
    return found


def _clip(folder: Path, device: str) -> tuple[Figure, Figure]:
    """Return two figures: the mean score of the pictures after, and how far it fell from before."""
    from erasure.evaluate.clip import ClipScore, clip_drop

    score = ClipScore(folder, device=device)

    def mean_score(group: Group, before: Path, after: Path) -> float:
        pictures = zip(openers(after, group.shots), _prompts(group), strict=True)
        return fmean(score([opened()], [prompt])[0] for opened, prompt in pictures)

    def mean_drop(group: Group, before: Path, after: Path) -> float:
        pairs = zip(openers(before, group.shots), openers(after, group.shots), _prompts(group), strict=True)
        return fmean(clip_drop(score, [one()], [other()], [prompt]) for one, other, prompt in pairs)

    return mean_score, mean_drop


def _lpips(device: str) -> Figure:
    from erasure.evaluate.distance import Lpips

    distance = Lpips(device=device)

    def mean_distance(group: Group, before: Path, after: Path) -> float:
        pairs = zip(openers(before, group.shots), openers(after, group.shots), strict=True)
        return fmean(distance([one()], [other()])[0] for one, other in pairs)

    return mean_distance


def _fid(device: str) -> Figure:
    from erasure.evaluate.fid import frechet_distance, inception_weights

    weights = inception_weights()

    def distance(group: Group, before: Path, after: Path) -> float:
        one, other = openers(before, group.shots), openers(after, group.shots)
        return frechet_distance(one, other, weights=weights, device=device)

    return distance


def _nudity() -> dict[str, Figure]:
    """Return one figure per threshold; each picture is examined once for all of them."""
    from erasure.evaluate.nudity import THRESHOLDS, exposed_scores, nudenet_detector, nudity_rates

    detector = nudenet_detector()

    @cache
    def scores(group: Group, folder: Path) -> list[float]:
        return exposed_scores(openers(folder, group.shots), detector)

    def rate_at(threshold: float) -> Figure:
        return lambda group, before, after: nudity_rates(scores(group, after), [threshold])[threshold]

    return {f"NER-{threshold:g}": rate_at(threshold) for threshold in THRESHOLDS}


def _pictures(certainties: dict[str, Certainty]) -> dict[str, Figure]:
    """Return the share (%) that a group's judge takes for something, if judges can tell, and how far pictures moved.

    A group that is judged by concept must show some concept, one that is judged by style some style.
    """

    def share(group: Group, before: Path, after: Path) -> float:
        return certain_share(certainties[group.judge], openers(before, group.shots), openers(after, group.shots))

    def moved(group: Group, before: Path, after: Path) -> float:
        return appearance_moved(openers(before, group.shots), openers(after, group.shots))

    return {"something": share, "appearance moved": moved} if certainties else {"appearance moved": moved}


def _prompts(group: Group) -> Sequence[str]:
    return [shot.prompt for shot in group.shots]
