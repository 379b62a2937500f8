from __future__ import annotations

import random

import pytest
from PIL import Image

from erasure.run.picture_folder import Subject
from erasure.run.picture_sheet import picture_grid
from erasure.run.preview import BeforeAfter, lay_out


def _noise(side: int, seed: int) -> Image.Image:
    return Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3))


def _at(sheet: Image.Image, side: int, row: int, column: int) -> bytes:
    """The pixels at a place of the grid: labels are as wide as a picture, but at least 96; 24 above, 6 between."""
    left, top = max(96, side) + column * (side + 6), 24 + row * (side + 6)
    return sheet.crop((left, top, left + side, top + side)).tobytes()


@pytest.mark.parametrize("side", [1, 8, 64, 95, 96, 97, 128, 512])
@pytest.mark.parametrize("columns", [1, 4])
def test_the_pictures_are_on_a_sheet_pixel_for_pixel(side: int, columns: int) -> None:
    rows = [(f"row {j}", [_noise(side, 10 * j + i) for i in range(columns)]) for j in range(3)]
    sheet = picture_grid(["title"] * columns, rows)
    assert [[_at(sheet, side, j, i) for i in range(columns)] for j in range(3)] == [
        [picture.tobytes() for picture in pictures] for _, pictures in rows
    ]


def test_the_left_half_is_before_and_the_right_half_after() -> None:
    pictures = tuple(_noise(8, seed) for seed in range(4))
    subject = Subject("church", "a church", "erased")
    sheet = lay_out([BeforeAfter(subject, (1, 2), pictures[:2], pictures[2:])])
    assert [_at(sheet, 8, 0, i) for i in range(4)] == [picture.tobytes() for picture in pictures]
