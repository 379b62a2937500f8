"""The edit that training starts from in one stage of the U-Net, and the part of a LoRA that holds it in one layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# The LoRA's rank is used up to where the edit is held with this relative error.
ERROR = 0.01
# A rank far above a LoRA's, in which the whole edit is held as good as exactly.
THIN = 128


@dataclass(frozen=True)
class StageEdit:
    """The edit D = E[(y - x) x^T] M^-1 in one stage: ``move``, its first factor, and ``metric`` M (d, d), float64 on
    the CPU."""

    move: Tensor
    metric: Tensor

    def thin(self) -> ThinEdit:
        """Return it at a rank that is far above a LoRA's, so that what follows for each layer is soon found.

        With M = S S^T, D S is E[(y - x) x^T] S^-T.
        """
        root = torch.linalg.cholesky(self.metric)
        scaled = torch.linalg.solve_triangular(root, self.move.T, upper=False).T
        with torch.random.fork_rng(devices=[]):  # the range is found by random vectors (Halko et al. 2011)
            torch.manual_seed(0)
            left, sizes, right = torch.svd_lowrank(scaled, q=min(THIN, len(scaled)))
        back = torch.linalg.solve_triangular(root, right.T, upper=False, left=False)
        return ThinEdit(left * sizes, back)


@dataclass(frozen=True)
class ThinEdit:
    """D = left @ right, where right @ S has orthogonal rows of length 1. ``left`` (d, n), ``right`` (n, d)."""

    left: Tensor
    right: Tensor

    def of_layer(self, weight: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``down`` (n, d), ``up`` (out, n) and sizes (n,): scale * up @ down is ``weight`` (out, d) times D.

        Cut off at a rank, it is what is nearest in the metric M, and the sizes that are left out are the error.
        """
        u, sizes, vh = torch.linalg.svd(weight.detach().double().cpu() @ self.left / scale, full_matrices=False)
        return sizes.sqrt()[:, None] * (vh @ self.right), u * sizes.sqrt(), sizes


def rank_needed(sizes: Tensor) -> int:
    """Return how many of the singular values ``sizes`` are needed to hold them with the error :data:`ERROR`."""
    left = sizes.square().flip(0).cumsum(0).flip(0)  # from each one on
    return int((left > ERROR**2 * left[0]).sum())
