"""How a sheet of labelled pictures is laid out. Needs no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_LABEL_LEAST, _TITLE, _GAP = 96, 24, 6


def picture_grid(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Lay out a grid: titles of the columns, then rows of a label and its pictures, all square and of one size."""
    side = rows[0][1][0].width
    label_width = max(_LABEL_LEAST, side)
    width = label_width + len(columns) * (side + _GAP)
    height = _TITLE + len(rows) * (side + _GAP)
    sheet = Image.new("RGB", (width, height), "white")
    ink = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for i, title in enumerate(columns):
        ink.text((label_width + i * (side + _GAP), 6), _latin(title), fill="black", font=font)
    for j, (label, pictures) in enumerate(rows):
        top = _TITLE + j * (side + _GAP)
        ink.multiline_text(
            (6, top + 6), "\n".join(textwrap.wrap(_latin(label), label_width // 7)), fill="black", font=font
        )
        for i, picture in enumerate(pictures):
            sheet.paste(picture, (label_width + i * (side + _GAP), top))
    return sheet


def _latin(text: str) -> str:
    # Pillow's built-in font has no other letters; old versions fail on them.
    return text.encode("latin-1", "replace").decode("latin-1")
