"""What training tells whoever iterates over it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """Something worth saying once."""

    text: str


@dataclass(frozen=True)
class Step:
    """One update is done. ``step`` counts from 1; losses are means over the batch, before their weights."""

    step: int
    steps: int
    erase_loss: float
    preserve_loss: float
    erased: tuple[str, ...]
    preserved: tuple[str, ...]
    learning_rate: float
    rows: int  # U-Net rows evaluated so far in training, forwards without and with gradient alike
    seconds: float  # of training so far, pauses excluded


@dataclass(frozen=True)
class Look:
    """What short samples of the tuned model showed after ``step`` updates; before the first, those of the frozen one.

    ``recognised``: for each target that the judge can tell, in how many pictures of it and its names it is still
    recognised, and of how many. ``kept``: how strongly, from 0 to 1, the nearest words that were looked at are still
    shown on average; None if none was looked at.
    """

    step: int
    recognised: dict[str, tuple[int, int]]
    kept: float | None
