"""How often and how much a run looks. Needs no torch."""

from __future__ import annotations

import math
from typing import NamedTuple

# How many of the nearest words the first look takes, with one picture each.
NEAR_WORDS = 4
# Of up to so many targets a look takes more pictures each.
FEW = 2
# Two looks in a row must find all gone; samples of the edit that training starts from may stand in for the first.
LOOKS_IN_A_ROW = 2
# Looks come closer together as the concept goes, at most so many times as often.
SHORTEST = 2
# A target is gone if no picture of it or of its other names is recognised, and the mean level of its own pictures is at
# most this: hardly more of it is seen than in pictures of other things. What is hardly recognised in few pictures will
# be recognised in some others. Other names mean more than the target: to train until nothing of it is left in them
# costs what is near more than it is worth.
GONE = 0.08
# In the first of two looks, which takes so few pictures that the mean says little: the second one decides.
GONE_AT_FIRST = 2 * GONE


class LookSizes(NamedTuple):
    """Pictures that one look takes: of each target, and of how many of its other names, with one picture each."""

    pictures: int
    names: int


def first_look(targets: int) -> LookSizes:
    """Return what the first of two looks takes. The names take turns."""
    return LookSizes(2 if targets <= FEW else 1, 1)


def second_look(targets: int) -> LookSizes:
    """Return what the second one takes: other pictures of the targets."""
    return LookSizes(4 if targets <= FEW else 2, 2)


def updates_between(look_every: int, targets: int) -> int:
    """Return the most updates between looks: more for many targets, of which each gets fewer of the updates."""
    return look_every * -(-targets // 2)


def fewest_updates_between(look_every: int, targets: int) -> int:
    """Return the fewest updates between looks."""
    return math.ceil(updates_between(look_every, targets) / SHORTEST)


def updates_before_look(look_every: int, targets: int, edited: bool) -> int:
    """Return how many updates come before the first look as a rule. ``edited``: the start erases most of it."""
    return fewest_updates_between(look_every, 1) if edited else updates_between(look_every, targets)


def updates_until_gone(passed: int, before: float, now: float) -> float:
    """Estimate how many more updates it takes until the strongest picture is gone, from two looks at it.

    ``before`` and ``now`` are its levels, ``passed`` the updates between. Infinite if it did not fall.
    """
    fall = (before - now) / passed
    return (now - GONE) / fall if fall > 0 else float("inf")
