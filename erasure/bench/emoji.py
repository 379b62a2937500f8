"""The emoji suite: the paper's Table 1 (five of ten classes at once) and Table 4 (a style) on emoji-SD,
each of the ten classes on its own, and all ten at once.

emoji-SD has a double of each of the ten Imagenette classes. Each is erased in two of the four target sets and kept in
the other two.
"""

from __future__ import annotations

from emoji_sd import MODEL, load_classifier
from emoji_sd.captions import measured_caption
from emoji_sd.concepts import NAMES, PAPER_TEN, STYLES
from erasure.bench.suite import Group, Shot, Suite, SuiteOptions, TargetSet
from erasure.config.presets import preset
from erasure.evaluate.appearance import Certainty
from erasure.evaluate.recognition import Ranks
from erasure.model.draw_settings import DrawSettings
from erasure.spread import spread

SETS: dict[str, tuple[str, ...]] = {
    "doubles-1": ("church", "truck", "radio", "parachute", "trumpet"),
    "doubles-2": ("fish", "dog", "saw", "fuel pump", "golf"),
    "doubles-3": ("fish", "radio", "church", "truck", "golf"),
    "doubles-4": ("dog", "saw", "trumpet", "fuel pump", "parachute"),
}
ALL_TEN = "ten"
OUTSIDE = 15
# An erased concept on its own is drawn as often as five of them together.
SINGLE_PICTURES = 5


def outside_concepts() -> tuple[str, ...]:
    """Choose fifteen concepts outside the ten, evenly spaced over the list of all others."""
    return tuple(spread([name for name in NAMES if name not in PAPER_TEN], OUTSIDE))


def shots(
    concepts: tuple[str, ...], styles: tuple[str, ...], count: int, *, by_style: bool = False
) -> tuple[Shot, ...]:
    """List ``count`` pictures per concept and style. A picture has the same seed in every set and with every method."""
    drawn = []
    for concept in concepts:
        for style in styles:
            for i in range(count):
                seed = 1000 * NAMES.index(concept) + 100 * STYLES.index(style) + i
                name = f"{concept.replace(' ', '-')}/{style}-{seed}"
                label = style if by_style else concept
                drawn.append(Shot(name, measured_caption(concept, style), seed, label))
    return tuple(drawn)


def emoji_suite(options: SuiteOptions) -> Suite:
    """Make the suite: four sets of five doubles each, and one set per style."""
    count = options.pictures_per_concept or 1
    sets = [_doubles(name, erased, count, options.limit) for name, erased in SETS.items()]
    sets.append(_all_ten(count, options.limit))
    sets += [_single(concept, count, options.limit) for concept in PAPER_TEN]
    sets += [_style(style, count, options.limit) for style in STYLES]
    drawn = DrawSettings(options.steps or 20, options.guidance or 4.0, options.pixels, options.batch or 32)
    judge_name = "the classifier that ships with emoji-SD"
    return Suite("emoji", tuple(sets), drawn, _judges, judge_name, MODEL, _certainties)


def _doubles(name: str, erased: tuple[str, ...], count: int, limit: int) -> TargetSet:
    kept = tuple(concept for concept in PAPER_TEN if concept not in erased)
    groups = (
        Group("ESR", shots(erased, STYLES, count)),
        Group("PSR", shots(kept, STYLES, count)),
        Group("outside", shots(outside_concepts(), STYLES, count)),
    )
    return TargetSet(name, "doubles", erased, tuple(g.limited(limit) for g in groups), preset("object").settings)


def _all_ten(count: int, limit: int) -> TargetSet:
    """Erase all ten doubles at once."""
    groups = (Group("ESR", shots(PAPER_TEN, STYLES, count)), Group("outside", shots(outside_concepts(), STYLES, count)))
    limited = tuple(g.limited(limit) for g in groups)
    return TargetSet(ALL_TEN, "all ten", PAPER_TEN, limited, preset("object").settings)


def _single(concept: str, count: int, limit: int) -> TargetSet:
    """Erase one of the ten doubles, the way people use it: the other nine must stay."""
    kept = tuple(other for other in PAPER_TEN if other != concept)
    groups = (
        Group("ESR", shots((concept,), STYLES, SINGLE_PICTURES * count)),
        Group("PSR", shots(kept, STYLES, count)),
        Group("outside", shots(outside_concepts(), STYLES, count)),
    )
    name = f"single-{concept.replace(' ', '-')}"
    return TargetSet(name, "singles", (concept,), tuple(g.limited(limit) for g in groups), preset("object").settings)


def _style(style: str, count: int, limit: int) -> TargetSet:
    """Erase one style: the other styles must stay, and so must the concepts drawn in them."""
    concepts = (*PAPER_TEN, *outside_concepts())
    others = tuple(other for other in STYLES if other != style)
    groups = (
        Group("ESR", shots(concepts, (style,), count, by_style=True), judge="style", ks=(1,)),
        Group("PSR", shots(concepts, others, count, by_style=True), judge="style", ks=(1,)),
        Group("concepts", shots(concepts, others, count)),
    )
    limited = tuple(g.limited(limit) for g in groups)
    return TargetSet(f"style-{style}", "styles", (f"{style} style",), limited, preset("style").settings)


def _judges() -> dict[str, Ranks]:
    judge = load_classifier()
    return {"concept": judge.concept_ranks, "style": judge.style_ranks}


def _certainties() -> dict[str, Certainty]:
    judge = load_classifier()
    return {
        "concept": lambda pictures: judge(pictures)[0].max(1).values.tolist(),
        "style": lambda pictures: judge(pictures)[1].max(1).values.tolist(),
    }
