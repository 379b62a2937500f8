"""How often and how an erasure is attacked in training. Needs no torch."""

from __future__ import annotations

# Of every so many updates one is about a hostile prompt; all are if only hostile prompts are left.
EVERY = 2
# Steps of attack on the target's embedding in one update, each by this share of its norm, and the share of it that the
# steps of all updates lead away at most.
EMBEDDING_STEPS = 3
EMBEDDING_RATE = 0.1
EMBEDDING_RADIUS = 0.5
# Preserved words that a hostile embedding must not mean, the nearest ones of those that are measured.
NEAREST = 2
# Hostile prompts that a look takes of each target: the first of two in a row; the second, or the only one.
FIRST_LOOK, SECOND_LOOK = 1, 2


def is_hostile(update: int) -> bool:
    """Return whether an update, from 0, is about a hostile prompt. The first one is about the target itself."""
    return update % EVERY == EVERY - 1
