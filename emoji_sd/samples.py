"""The sheet of samples: 24 concepts in every style."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from emoji_sd import MODEL
from emoji_sd.concepts import NAMES, PAPER_TEN, STYLES
from emoji_sd.measure import GUIDANCE, draw
from erasure.run.picture_sheet import picture_grid


def sample_sheet(*, guidance: float = GUIDANCE, checkpoint: Path = MODEL, device: str = "cpu") -> Image.Image:
    """Draw the paper's ten doubles and fourteen other concepts, two to a row, with a palette of 200 colours."""
    names = (*PAPER_TEN, *(name for name in NAMES if name not in PAPER_TEN))[:24]
    drawn = draw(names, guidance=guidance, checkpoint=checkpoint, device=device)
    per = len(STYLES)
    halves = [names[:12], names[12:]]
    rows = []
    for left, right in zip(*halves, strict=True):
        pair = [drawn[names.index(name) * per : (names.index(name) + 1) * per] for name in (left, right)]
        rows.append((f"{left} | {right}", [*pair[0], *pair[1]]))
    return picture_grid([*STYLES, *STYLES], rows).quantize(200)
