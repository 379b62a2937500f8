"""The updates of a training, without what else it tells."""

from __future__ import annotations

from erasure.training.events import Step
from erasure.training.solver import Solver


def updates(solver: Solver) -> list[Step]:
    """Train to the end."""
    return [event for event in solver if isinstance(event, Step)]
