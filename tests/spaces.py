"""A small concept space written by hand, for tests that do not search for one."""

from __future__ import annotations

from erasure.concepts.space import Candidate, ConceptSpace, TargetSpace

WORDS = ("truck", "bus", "house", "tower", "bell", "dog")


def space_of(*targets: str, anchor: str = "", words: tuple[str, ...] = WORDS) -> ConceptSpace:
    preserved = tuple(Candidate(word, 0.5, None) for word in words)
    return ConceptSpace(
        targets=tuple(TargetSpace(target, anchor, preserved, (), ()) for target in targets),
        vocabulary_size=len(words),
        notes=(),
    )
