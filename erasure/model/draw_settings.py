"""Settings for drawing pictures, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from erasure.model.rows import Rows


@dataclass(frozen=True)
class DrawSettings:
    """How pictures are drawn.

    DDIM ``steps``, classifier-free ``guidance``, side in ``pixels`` (0: the model's own), pictures per ``batch``.
    """

    steps: int = 20
    guidance: float = 5.0
    pixels: int = 0
    batch: int = 8

    def rows(self, pictures: int) -> Rows:
        """Return the U-Net rows that so many pictures take; without guidance the empty prompt is not evaluated."""
        each = self.steps * (1 if self.guidance == 1 else 2)
        return Rows(pictures * each, calls=self.steps * -(-pictures // self.batch))


DRAW_SETTINGS = DrawSettings()
"""The default."""
