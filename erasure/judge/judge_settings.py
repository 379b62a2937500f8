"""How pictures are drawn and judged, and what it costs. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from erasure.model.draw_settings import DrawSettings
from erasure.model.rows import Rows


@dataclass(frozen=True)
class JudgeSettings:
    """How a picture is drawn, and at which ``timesteps``, as shares of the training schedule, noise is put on it."""

    timesteps: tuple[float, ...] = (0.4, 0.7, 0.85)
    drawing: DrawSettings = field(default_factory=lambda: DrawSettings(steps=10, guidance=5.0, batch=32))

    def rows(self, drawn: int, queries: int) -> Rows:
        """Return the rows for drawing some pictures and for some queries, each about a picture on its own."""
        return self.drawing.rows(drawn) + Rows(2 * queries, calls=2 * queries) * len(self.timesteps)


JUDGE_SETTINGS = JudgeSettings()
