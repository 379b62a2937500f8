"""How many words are rehearsed in turn, and where. Needs no torch."""

from __future__ import annotations

# So many, and so many more for each target. A third of them is near a target.
WORDS, WORDS_PER_TARGET = 16, 8
NEAR_SHARE = 1 / 3
# Of a trajectory the first steps are rehearsed: what a prompt means is settled there, and going on costs more rows than
# all else in an update.
EARLY = 0.5


def early_steps(steps: int) -> int:
    """Return how many of a trajectory's ``steps`` are rehearsed."""
    return max(1, round(EARLY * steps))
