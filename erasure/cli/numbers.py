"""Numbers as arguments of commands: one that is out of range ends a command at once, with exit code 2."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

# The steps of the schedule that all families are trained with: more than these cannot be taken to draw a picture.
MOST_DRAWING_STEPS = 1000
MOST_SEED = 2**32 - 1


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a type of argument: a whole number from ``low`` to ``high``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is outside {low} to {high}")
        return value

    return read


def real(text: str) -> float:
    """Read a finite number: a type of argument."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def pixels(text: str) -> int:
    """Read the side of a picture: 0, which is the checkpoint's own, or a multiple of 8 from 64 to 4096."""
    value = whole(0, 4096)(text)
    if value % 8 or 0 < value < 64:
        raise argparse.ArgumentTypeError(f"{value} is neither 0 nor a multiple of 8 from 64 on")
    return value
