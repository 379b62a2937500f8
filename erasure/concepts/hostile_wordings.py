"""Ways around an erasure that a training looks for among: near the target, but not its plain name.

They share no prompt with the list of :mod:`erasure.concepts.wordings`, by which erasures are attacked, but for names,
plurals and letters set apart: what is measured there is not what was trained. Negations are none of them, nor is
anything that must stay.
Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from erasure.concepts.naming import plurals
from erasure.concepts.spellings import misspellings, spaced
from erasure.config.template import PLACE, fill

# The most for one target.
MOST = 140
# Other names that are also put into frames.
FRAMED_NAMES = 4
# Near words of which pairs are made: the likest by s(c).
PAIRED = 10
_MISSPELT = 4
# Another seed than that of attacks.
_SEED_APART = 1_000
# What square brackets mark goes with the name, so that styles before it are not erased with it.
_FRAMES = (
    "a photo of {}",
    "{} sticker",
    "this is a {}",
    "a small {} on white",
    "cartoon, line art, pastel[, {}]",
    "comic, clay, stencil[, {}]",
    "{}, centred, with long shadows, seen from far away, under an empty sky",
    "{}, masterpiece, very detailed, trending",
)
_SHORT_FRAMES = _FRAMES[:2]


@dataclass(frozen=True)
class HostileWording:
    """What stands in the place of the target's name, and a template for all around the prompt.

    ``made_of``: words that stay, if it is made of such.
    """

    words: str
    frame: str = PLACE
    made_of: tuple[str, ...] = ()

    def prompt(self, template: str) -> str:
        """Return the prompt in one of the erasure's templates."""
        return fill(self.frame, fill(template, self.words))

    def anchored(self, template: str, anchor: str) -> str:
        """Return the same prompt with the anchor in the words' place; ``""``: what is left without them."""
        return fill(self.frame, fill(template, anchor))


def hostile_wordings(
    names: Sequence[str], near: Sequence[str], stays: Iterable[str] = (), *, seed: int = 0
) -> tuple[HostileWording, ...]:
    """List at most :data:`MOST` ways to ask for a target, each once.

    ``names``: its own name first, then those that are erased with it; ``near``: what is drawn most like it, but stays;
    ``stays``: texts that must never be among them.
    """
    left_out = {text.casefold() for text in (names[0], *near, *stays)}
    found = dict.fromkeys(_wordings(names, near, seed))
    return tuple(w for w in found if w.frame != PLACE or w.words.casefold() not in left_out)[:MOST]


def _wordings(names: Sequence[str], near: Sequence[str], seed: int) -> Iterator[HostileWording]:
    own, *others = names
    yield from map(HostileWording, others)
    yield from (HostileWording(own, frame) for frame in _FRAMES)
    yield from map(HostileWording, sorted(plurals(own.lower())))
    yield from (HostileWording(f"{one} {two}", made_of=(one, two)) for one, two in permutations(near[:PAIRED], 2))
    yield from (HostileWording(name, frame) for name in others[:FRAMED_NAMES] for frame in _SHORT_FRAMES)
    yield from map(HostileWording, misspellings(own, _MISSPELT, seed=seed + _SEED_APART))
    yield from map(HostileWording, spaced(own))
