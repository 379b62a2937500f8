"""How often and how much a run looks. Needs no torch."""

from __future__ import annotations

import math

# Pictures of each target that the first look takes, and the second, which takes others.
FIRST_PICTURES, SECOND_PICTURES = 2, 4
# The other names of a target have one picture each: in the first look one name, which take turns, in the second all.
NAMES_AT_FIRST = 1
# How many of the nearest words the first look takes, with one picture each.
NEAR_WORDS = 4
# Two looks in a row must find all gone.
LOOKS_IN_A_ROW = 2
# Looks come closer together as the concept goes, at most so many times as often.
SHORTEST = 2
# A target is gone if none of its pictures is recognised and their mean level is below this, far below the judge's cut:
# what is hardly recognised in few pictures will be recognised in some others.
GONE = 0.15


def updates_between(look_every: int, targets: int) -> int:
    """Return the most updates between looks: more for many targets, of which each gets fewer of the updates."""
    return look_every * -(-targets // 2)


def fewest_updates_between(look_every: int, targets: int) -> int:
    """Return the fewest updates between looks."""
    return math.ceil(updates_between(look_every, targets) / SHORTEST)


def updates_until_gone(passed: int, before: float, now: float) -> float:
    """Estimate how many more updates it takes until the strongest picture is gone, from two looks at it.

    ``before`` and ``now`` are its levels, ``passed`` the updates between. Infinite if it did not fall.
    """
    fall = (before - now) / passed
    return (now - GONE) / fall if fall > 0 else float("inf")
