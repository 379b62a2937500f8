"""Adding a change to a layer's weights in their own number type, rounded once, and how much rounding takes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.errors import BrokenCheckpoint, LoraFileError

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
_NUMBERS = 2**17  # that are computed with at a time: what a processor keeps at hand


@dataclass
class Rounding:
    """Sums of squares over all changed weights: of the change, and of what rounding adds to it."""

    change: float = 0.0
    error: float = 0.0

    @property
    def share(self) -> float:
        """Norm of the rounding error relative to that of the change."""
        return math.sqrt(self.error / self.change) if self.change else 0.0


def computed_in(dtype: str) -> torch.dtype:
    """Return what the sum is computed in, before it is rounded once: fp32 for half precision, else fp64."""
    return torch.float32 if dtype in ("F16", "BF16") else torch.float64


@dataclass
class LayerChange:
    """What is added to the weights of one layer: ``up @ down``, (out, R) and (R, n), in the number type of
    :func:`computed_in`.

    ``dtype``: as the file names it; ``name``: of the weights, for errors. ``rounding``: is added to. Where several
    layers share a tensor, rows are counted from the first of the layer's own.
    """

    name: str
    dtype: str
    up: Tensor
    down: Tensor
    rounding: Rounding

    @property
    def step(self) -> int:
        """Bytes of so many whole rows as are changed at a time."""
        columns = self.down.shape[1]
        return max(1, _NUMBERS // columns) * columns * torch.empty(0, dtype=_DTYPES[self.dtype]).element_size()

    def apply(self, block: memoryview, row: int) -> tuple[memoryview, int]:
        """Return the bytes of a block of whole rows, of which ``row`` is the first, with the change, and the next row.

        Raises: BrokenCheckpoint if a weight is not finite; LoraFileError if the number type cannot hold the sum.
        """
        before = torch.frombuffer(block, dtype=_DTYPES[self.dtype]).view(-1, self.down.shape[1])
        end = row + before.shape[0]
        change = self.up[row:end] @ self.down
        exact = before.to(change.dtype)
        if not bool(exact.isfinite().all()):
            raise BrokenCheckpoint(
                f"the checkpoint is damaged: {self.name} has values that are not finite (NaN or infinite). "
                "A merge may have gone wrong; use another copy of the model."
            )
        exact += change
        after = exact.to(before.dtype)
        if not bool(after.isfinite().all()):
            raise LoraFileError(
                f"with the LoRA, {self.name} has values that {self.dtype} cannot hold; choose a smaller weight"
            )
        self.rounding.change += float(change.double().square_().sum())
        self.rounding.error += float(exact.sub_(after).double().square_().sum())
        return after.view(torch.uint8).view(-1).numpy().data, end
