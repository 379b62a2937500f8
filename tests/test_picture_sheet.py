from __future__ import annotations

import random

import pytest
from PIL import Image

from erasure.run.picture_sheet import before_and_after, cut_sheet, picture_grid


def _noise(side: int, seed: int) -> Image.Image:
    return Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3))


@pytest.mark.parametrize("side", [1, 8, 64, 95, 96, 97, 128, 512])
@pytest.mark.parametrize("columns", [1, 4])
def test_the_pictures_come_off_a_sheet_as_they_were_put_on(side: int, columns: int) -> None:
    rows = [(f"row {j}", [_noise(side, 10 * j + i) for i in range(columns)]) for j in range(3)]
    cut = cut_sheet(picture_grid(["title"] * columns, rows), columns)
    assert [[picture.tobytes() for picture in row] for row in cut] == [
        [picture.tobytes() for picture in pictures] for _, pictures in rows
    ]


def test_the_left_half_is_before_and_the_right_half_after() -> None:
    pictures = [_noise(8, seed) for seed in range(4)]
    ((before, after),) = before_and_after(picture_grid([""] * 4, [("church", pictures)]))
    assert [picture.tobytes() for picture in (*before, *after)] == [picture.tobytes() for picture in pictures]


@pytest.mark.parametrize("size", [(1, 1), (64, 32), (1000, 1000), (376, 94 + 1), (377, 94), (120, 30)])
def test_a_picture_that_is_no_sheet_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no sheet of 4 columns"):
        cut_sheet(Image.new("RGB", size), 4)
