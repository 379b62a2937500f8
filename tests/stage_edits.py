"""The edit of a stage as one matrix, for tests to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from erasure.training.stage_edit import StageEdit


def exact(edit: StageEdit) -> Tensor:
    """Return D (d, d), without the thin form in which training holds it."""
    change: Tensor = torch.linalg.solve(edit.metric, edit.move.T).T
    return change
