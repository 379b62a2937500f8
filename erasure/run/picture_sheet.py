"""Sheets of labelled pictures: how one is laid out, and the way back to the pictures on it. Needs no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

# Of the pictures of each prompt on a run's previews, before as well as after.
SEEDS = (1, 2)
_LABEL_LEAST, _TITLE, _GAP = 96, 24, 6


def picture_grid(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """A labelled grid: column titles, and per row a label and its pictures, all square and of one size."""
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


def cut_sheet(sheet: Image.Image, columns: int) -> list[list[Image.Image]]:
    """The pictures on a sheet of :func:`picture_grid`, row by row, pixel for pixel.

    Raises: ValueError for a picture that was not laid out so.
    """
    side = _side(sheet.width, columns)
    rows, rest = divmod(sheet.height - _TITLE, max(1, side) + _GAP)
    label_width = max(_LABEL_LEAST, side)
    if side < 1 or rows < 1 or rest or sheet.width != label_width + columns * (side + _GAP):
        raise ValueError(f"no sheet of {columns} columns has {sheet.width} x {sheet.height} pixels")
    return [
        [sheet.crop(_box(label_width + i * (side + _GAP), _TITLE + j * (side + _GAP), side)) for i in range(columns)]
        for j in range(rows)
    ]


def before_and_after(sheet: Image.Image) -> list[tuple[list[Image.Image], list[Image.Image]]]:
    """Per prompt of a run's preview the pictures before, and those after, seed by seed. Raises: ValueError."""
    return [(row[: len(SEEDS)], row[len(SEEDS) :]) for row in cut_sheet(sheet, 2 * len(SEEDS))]


def _side(width: int, columns: int) -> int:
    """Of one picture: the labels are as wide as a picture, but never narrower than their least width."""
    wide = (width - columns * _GAP) // (columns + 1)
    return wide if wide >= _LABEL_LEAST else (width - _LABEL_LEAST - columns * _GAP) // columns


def _box(left: int, top: int, side: int) -> tuple[int, int, int, int]:
    return left, top, left + side, top + side


def _latin(text: str) -> str:
    # Pillow's built-in font has no other letters and fails on them in old versions.
    return text.encode("latin-1", "replace").decode("latin-1")
