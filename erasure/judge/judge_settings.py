"""How pictures are drawn and judged, and what it costs. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from erasure.config.template import fill
from erasure.model.draw_settings import DrawSettings
from erasure.model.rows import Rows


@dataclass(frozen=True)
class JudgeSettings:
    """How a picture is drawn, and at which ``timesteps``, as shares of the training schedule, noise is put on it."""

    timesteps: tuple[float, ...] = (0.4, 0.7, 0.85)
    drawing: DrawSettings = field(default_factory=lambda: DrawSettings(steps=8, guidance=5.0, batch=32))

    def rows(self, drawn: int, queries: int) -> Rows:
        """Return the rows for drawing some pictures and for some queries, each about a picture on its own."""
        return self.drawing.rows(drawn) + Rows(2 * queries, calls=2 * queries) * len(self.timesteps)


JUDGE_SETTINGS = JudgeSettings()
# Queries about one picture that are asked in one call of the U-Net, and share a row there.
QUERIES_AT_ONCE = 20
# What a style changes, colours and surfaces, is settled where there is most noise, and what a thing is below that.
STYLE_TIMESTEPS = (0.85, 0.9, 0.93)


def settings_for(templates: Sequence[str], settings: JudgeSettings = JUDGE_SETTINGS) -> JudgeSettings:
    """Return the settings for judging a concept in these templates.

    Where one says what goes with the concept, "a picture of a house[ in {}]", the concept is a style: what is compared
    then is the same thing with it and without it.
    """
    style = any(fill(template, "") for template in templates)
    return replace(settings, timesteps=STYLE_TIMESTEPS) if style else settings
