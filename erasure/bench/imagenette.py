"""The imagenette suite: the paper's Table 1 on SD 1.4, judged by an ImageNet classifier.

The first set is the one that the paper names (Appendix, Figure 6). The others are chosen as in the emoji suite: each
class is erased in two of the four sets and kept in the other two.
"""

from __future__ import annotations

from pathlib import PureWindowsPath

from erasure.bench.suite import Group, Shot, Suite, SuiteOptions, TargetSet
from erasure.config.presets import preset
from erasure.evaluate.recognition import Ranks
from erasure.model.draw_settings import DrawSettings

# Name and index among ImageNet's 1,000 classes.
CLASSES: dict[str, int] = {
    "tench": 0,
    "English springer": 217,
    "cassette player": 482,
    "chain saw": 491,
    "church": 497,
    "French horn": 566,
    "garbage truck": 569,
    "gas pump": 571,
    "golf ball": 574,
    "parachute": 701,
}
SETS: dict[str, tuple[str, ...]] = {
    "imagenette-1": ("church", "garbage truck", "cassette player", "parachute", "French horn"),
    "imagenette-2": ("tench", "English springer", "chain saw", "gas pump", "golf ball"),
    "imagenette-3": ("tench", "cassette player", "church", "garbage truck", "golf ball"),
    "imagenette-4": ("English springer", "chain saw", "French horn", "gas pump", "parachute"),
}
PICTURES = 500


def imagenette_suite(options: SuiteOptions) -> Suite:
    """Make the suite: four sets of five classes each."""
    count = options.pictures_per_concept or PICTURES
    drawn = DrawSettings(options.steps or 50, options.guidance or 7.5, options.pixels, options.batch or 8)
    sets = tuple(_target_set(name, erased, count, options.limit) for name, erased in SETS.items())

    def judges() -> dict[str, Ranks]:
        import torch

        from erasure.evaluate.image_classifier import imagenet_ranks

        device = "cuda" if torch.cuda.is_available() else "cpu"
        ranks = imagenet_ranks(CLASSES, weights=options.classifier, random=options.random_classifier, device=device)
        return {"concept": ranks}

    return Suite("imagenette", sets, drawn, judges, _judge_name(options))


def _judge_name(options: SuiteOptions) -> str:
    if options.random_classifier:
        return "an untrained ResNet-50: its figures mean nothing"
    if options.classifier:
        return f"the classifier {PureWindowsPath(options.classifier).name}"  # takes both kinds of slashes
    return "torchvision's ResNet-50 (IMAGENET1K_V2)"


def _target_set(name: str, erased: tuple[str, ...], count: int, limit: int) -> TargetSet:
    kept = tuple(text for text in CLASSES if text not in erased)
    groups = (Group("ESR", _shots(erased, count)), Group("PSR", _shots(kept, count)))
    return TargetSet(name, "imagenette", erased, tuple(g.limited(limit) for g in groups), preset("object").settings)


def _shots(classes: tuple[str, ...], count: int) -> tuple[Shot, ...]:
    return tuple(
        Shot(
            f"{text.replace(' ', '-')}/{seed:06d}",
            f"a photo of a {text}".replace("a English", "an English"),
            seed,
            text,
        )
        for text in classes
        for seed in range(1000 * CLASSES[text], 1000 * CLASSES[text] + count)
    )
