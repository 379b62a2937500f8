"""How often and how much a run looks. Needs no torch."""

from __future__ import annotations

# Pictures of each target, and of one of its other names, which take turns; and how many of the nearest words, with one
# picture each.
TARGET_PICTURES, NAME_PICTURES, NEAR_WORDS = 3, 1, 6
# All must be gone in so many looks in a row.
LOOKS_IN_A_ROW = 2


def updates_between(look_every: int, targets: int) -> int:
    """Return the updates between looks: more for many targets, of which each gets fewer of the updates."""
    return look_every * -(-targets // 2)
