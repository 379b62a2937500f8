"""Changes of a layer's weights as two factors ``up @ down``: their size, and the nearest ones of a lower rank.

The truncated SVD is the nearest matrix of its rank in the Frobenius norm (Eckart and Young 1936). It is taken of the
small core between the QR decompositions of both factors, so that the whole matrix is never made where that is larger.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def product_norm(up: Tensor, down: Tensor) -> float:
    """Return the Frobenius norm of ``up @ down``, (out, r) and (r, in), without computing the product.

    ||u d||^2 = tr(u^T u d d^T), from two rank x rank Gram matrices. Where the rank is larger than the layer, the
    product is the smaller one. NaN stays NaN.
    """
    d, u = down.double(), up.double()
    if d.shape[0] ** 2 > u.shape[0] * d.shape[1]:
        return float((u @ d).norm())
    squared = (u.T @ u * (d @ d.T)).sum()
    # Rounding may leave a tiny negative number where the true value is zero.
    return float(torch.sqrt(squared.clamp(min=0)))


def difference_norm(up: Tensor, down: Tensor, other_up: Tensor, other_down: Tensor) -> float:
    """Return the Frobenius norm of ``other_up @ other_down - up @ down``, factors of the same shapes.

    Of the factors' differences, which are exact where the numbers are close: a difference of the products would drown
    in rounding.
    """
    u, d, v, e = up.double(), down.double(), other_up.double(), other_down.double()
    return product_norm(torch.cat([v - u, u], dim=1), torch.cat([e, e - d]))


class Truncated(NamedTuple):
    """``up @ down`` of a lower rank, fp64; ``norm``: of the whole change, ``left_out``: of what it lacks (both
    Frobenius)."""

    up: Tensor
    down: Tensor
    norm: float
    left_out: float


def truncated(up: Tensor, down: Tensor, rank: int) -> Truncated:
    """Return the change of at most ``rank`` that is nearest to ``up @ down``, (out, r) and (r, in); values are finite.

    Singular values are shared evenly between both factors, so that neither is rounded more than the other.
    """
    u, d = up.double(), down.double()
    small = u.shape[1] < min(u.shape[0], d.shape[1])
    if small:
        left, core_left = torch.linalg.qr(u)
        right, core_right = torch.linalg.qr(d.T)
        core = core_left @ core_right.T
    else:
        core = u @ d
    columns, values, rows = torch.linalg.svd(core, full_matrices=False)
    root = values[:rank].sqrt()
    columns, rows = columns[:, :rank] * root, rows[:rank] * root[:, None]
    if small:
        columns, rows = left @ columns, rows @ right.T
    return Truncated(columns, rows, float(values.norm()), float(values[rank:].norm()))
