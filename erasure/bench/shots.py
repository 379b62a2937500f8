"""Pictures on disk: drawn in batches, one file each, so that an interrupted bench continues where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from erasure.bench.suite import Shot
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import draw_pictures
from erasure.model.model import Model
from erasure.whole_file import whole_file


def picture_path(folder: Path, shot: Shot) -> Path:
    """Return where a picture is kept below ``folder``."""
    return folder / f"{shot.name}.png"


def missing_shots(folder: Path, shots: Sequence[Shot]) -> list[Shot]:
    """Return the pictures that have not been drawn yet."""
    return [shot for shot in shots if not picture_path(folder, shot).exists()]


def draw_missing(model: Model, shots: Sequence[Shot], folder: Path, drawn: DrawSettings) -> Iterator[tuple[int, int]]:
    """Draw the missing pictures with the U-Net as it is now; yield (pictures on disk, pictures wanted) per batch."""
    todo = missing_shots(folder, shots)
    for start in range(0, len(todo), drawn.batch):
        chunk = todo[start : start + drawn.batch]
        prompts, seeds = [shot.prompt for shot in chunk], [shot.seed for shot in chunk]
        with model.rows.purpose("pictures"):
            pictures = draw_pictures(model, prompts, seeds, drawn)
        for shot, picture in zip(chunk, pictures, strict=True):
            _save(picture, picture_path(folder, shot))
        yield len(shots) - len(todo) + start + len(chunk), len(shots)


def openers(folder: Path, shots: Sequence[Shot]) -> list[Callable[[], Image.Image]]:
    """Return functions that open the pictures, for metrics that hold only a few in memory at a time."""
    return [partial(_open, picture_path(folder, shot)) for shot in shots]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG")
