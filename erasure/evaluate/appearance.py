"""Whether pictures still look like the model's own: by a classifier's certainty, and by their colours and sharpness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from erasure.errors import EvaluationError

Certainty = Callable[[Sequence[Image.Image]], list[float]]
"""A classifier: takes pictures, returns the probability (0 to 1) of each one's first choice, whatever that is."""

Opener = Callable[[], Image.Image]
_LEAST_SPREAD = 1 / 255  # one level of brightness: pictures that are all alike give no unit


def certain_share(certainty: Certainty, before: Sequence[Opener], after: Sequence[Opener]) -> float:
    """Return the share (%) of the pictures after that the classifier takes for something.

    It does if its first choice has at least half the probability that first choices have on average before. What that
    choice is does not matter: an erased concept may turn into anything, but not into noise. A classifier can be
    certain of a picture that means nothing to a person, so that a high share proves little and a low one much.

    Raises: EvaluationError if there are no pictures.
    """
    _need(before, 1)
    _need(after, 1)
    least = fmean(_asked(certainty, before)) / 2
    return 100 * fmean(chance >= least for chance in _asked(certainty, after))


def appearance(picture: Image.Image) -> NDArray[np.float64]:
    """Return seven statistics of a picture's levels, which go from 0 to 1: each channel's mean, each one's deviation,
    and sharpness, which is the mean absolute Laplacian (four neighbours) of their mean over the channels."""
    levels = np.asarray(picture.convert("RGB"), dtype=np.float64) / 255
    grey = levels.mean(2)
    middle, across = grey[1:-1, 1:-1], grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = across + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * middle
    sharpness = np.abs(laplacian).mean() if laplacian.size else 0.0
    return np.array([*levels.mean((0, 1)), *levels.std((0, 1)), sharpness])


def appearance_moved(before: Sequence[Opener], after: Sequence[Opener]) -> float:
    """Return how far the pictures moved as a group: the root mean square of seven differences.

    Each is that of the group's mean of one :func:`appearance`, in standard deviations of single pictures before. Two
    groups of n unrelated pictures of the same kind differ by about sqrt(2 / n). At 1 the usual picture has become one
    that was far from usual before.

    Raises: EvaluationError if there are fewer than two pictures before, or none after.
    """
    _need(before, 2)
    _need(after, 1)
    own, moved = (np.stack([appearance(opened()) for opened in group]) for group in (before, after))
    units = np.maximum(own.std(0, ddof=1), _LEAST_SPREAD)
    return math.sqrt(float(np.square((moved.mean(0) - own.mean(0)) / units).mean()))


def _asked(certainty: Certainty, pictures: Sequence[Opener]) -> list[float]:
    """Ask about 64 pictures at a time, so that few are in memory."""
    chances: list[float] = []
    for start in range(0, len(pictures), 64):
        chances += certainty([opened() for opened in pictures[start : start + 64]])
    return chances


def _need(pictures: Sequence[Opener], count: int) -> None:
    if len(pictures) < count:
        raise EvaluationError(
            f"there are {len(pictures)} pictures to compare; draw at least {count}, with a higher --limit"
        )
