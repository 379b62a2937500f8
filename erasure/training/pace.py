"""The pace of training: the learning rate is set by how far the first updates move the prediction of a concept.

With Adam the change of each weight follows from the learning rate, but what that does to a prediction grows with the
width of the U-Net, so that a rate found on one model is too high or too low on another. What is the same on all is the
way that a prediction has to go: from eps(z_t, c_e) to eps(z_t, c_n).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from erasure.training.pace_updates import MEASURED

# The learning rate changes by at most this factor.
LARGEST = 5.0


class Pace:
    """Measures the share of the way that predictions moved for each unit of learning rate.

    ``wanted``: the share of the way that an update is to move the prediction at the peak of the learning rate.
    """

    def __init__(self, wanted: float):
        self._wanted = wanted
        self._rates = 0.0  # the sum of the learning rates of all updates so far
        self._found: list[float] = []  # share of the way / sum of the learning rates before

    def measures(self, update: int) -> bool:
        """Whether :meth:`note` needs to know how far predictions have moved before ``update``."""
        return bool(self._rates) and update in MEASURED

    def note(self, update: int, rate: float, moved: Callable[[], Tensor]) -> None:
        """Note how far predictions have moved before ``update`` (from 1) is made at a learning rate of ``rate``.

        ``moved``: asked for :func:`moved_shares` only while something is measured, since that waits for the device.
        """
        if self.measures(update):
            self._found.append(float(moved().mean()) / self._rates)
        self._rates += rate

    def factor(self, update: int, peak: float) -> float:
        """Return what the learning rate of ``update`` (from 1) is multiplied with; ``peak``: that after the warm-up."""
        if update <= MEASURED[-1] or not self._found:
            return 1.0
        moved = fmean(self._found) * peak
        return min(LARGEST, max(1 / LARGEST, self._wanted / max(moved, 1e-9)))

    def meta(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {"rates": self._rates, "found": list(self._found)}

    def load(self, meta: dict[str, Any]) -> None:
        """Undo :meth:`meta`."""
        self._rates, self._found = meta["rates"], list(meta["found"])


def moved_shares(tuned: Tensor, start: Tensor, own: Tensor, anchor: Tensor) -> Tensor:
    """Return (b,): how far ``tuned`` is from ``start``, in units of the way from ``own`` to ``anchor``; all (b, ...).

    Of each erased concept: eps_theta'(c_e) now and at the start of training, eps(c_e) and eps(c_n).
    """
    with torch.no_grad():
        way = (anchor - own).flatten(1).norm(dim=1).clamp_min(1e-9)
        shares: Tensor = (tuned - start).flatten(1).norm(dim=1) / way
        return shares
