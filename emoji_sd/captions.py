"""The captions that emoji-SD was trained with, and the one that it is measured with."""

from __future__ import annotations

import random
from collections.abc import Iterator

from emoji_sd.concepts import CONCEPTS, STYLES, Concept

STYLED: tuple[str, ...] = (
    "a picture of {a} {thing} in {style} style",
    "a picture of {a} {thing}, {style} style",
    "{a} {thing}, {style} style",
    "{a} {thing} in {style} style",
    "{thing}, {style} style",
    "{thing} in {style} style",
    "an image of {a} {thing} in {style} style",
)
PLAIN: tuple[str, ...] = (
    "{thing}",
    "{a} {thing}",
    "a picture of {a} {thing}",
    "a photo of {a} {thing}",
    "an image of {a} {thing}",
    "a drawing of {a} {thing}",
)
STYLE_ONLY: tuple[str, ...] = ("{style} style", "a picture in {style} style")
STYLED_SHARE = 0.70
STYLE_ONLY_SHARE = 0.03
SYNONYM_SHARE = 0.35
# fmt: off
_NO_ARTICLE = frozenset({
    "grapes", "fries", "books", "scissors", "glasses", "golf", "fire", "cherries", "bananas", "carrots",
    "strawberries", "bunch", "corn", "broccoli", "maize", "sweetcorn", "sunshine", "skydiving", "camping", "soccer",
    "frosty", "candlelight", "textbooks", "shears", "clippers", "spectacles", "eyeglasses", "sushi", "escargot",
    "snow", "candles", "gelato",
})
# fmt: on


def article(thing: str) -> str:
    """Return ``"an"`` before a vowel, ``"a"`` before a consonant, and ``""`` before plurals and substances."""
    if thing in _NO_ARTICLE or thing in ("french fries", "potato chips", "piano keys", "stack of books"):
        return ""
    vowel = thing[0] in "aeio" or (thing[0] == "u" and not thing.startswith(("uk", "un")))
    return "an" if vowel else "a"


def fill(template: str, thing: str, style: str = "") -> str:
    """Return the caption that ``template`` makes of ``thing`` (a concept's name or synonym) and ``style``."""
    text = template.format(a=article(thing), thing=thing, style=style)
    return " ".join(text.split())


def measured_caption(name: str, style: str) -> str:
    """Return the caption used for measuring, ``"a picture of a church in flat style"``."""
    return fill(STYLED[0], name, style)


def all_captions() -> Iterator[tuple[str, int | None, int | None]]:
    """Yield every training caption with the indices of its concept and style (``None`` if it names none)."""
    for number, style in enumerate(STYLES):
        for template in STYLE_ONLY:
            yield fill(template, "thing", style), None, number
    for index, concept in enumerate(CONCEPTS):
        for thing in (concept.name, *concept.synonyms):
            for template in PLAIN:
                yield fill(template, thing), index, None
            for number, style in enumerate(STYLES):
                for template in STYLED:
                    yield fill(template, thing, style), index, number


def draw_caption(concept: Concept, style: str, rng: random.Random) -> str:
    """Draw a random training caption; 35 % use a synonym, and 70 % name the style."""
    if rng.random() < STYLE_ONLY_SHARE:
        return fill(rng.choice(STYLE_ONLY), "thing", style)
    thing = rng.choice(concept.synonyms) if rng.random() < SYNONYM_SHARE else concept.name
    if rng.random() < STYLED_SHARE:
        return fill(rng.choice(STYLED), thing, style)
    return fill(rng.choice(PLAIN), thing)
