"""Pictures on disk: drawn in batches, one file each, so that an interrupted bench goes on where it was."""

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
    return folder / f"{shot.name}.png"


def missing_shots(folder: Path, shots: Sequence[Shot]) -> list[Shot]:
    return [shot for shot in shots if not picture_path(folder, shot).exists()]


def draw_missing(model: Model, shots: Sequence[Shot], folder: Path, drawn: DrawSettings) -> Iterator[tuple[int, int]]:
    """Draw what is not there yet with the U-Net as it is now; yields (pictures there, pictures wanted)."""
    todo = missing_shots(folder, shots)
    drawing = DrawSettings(drawn.steps, drawn.guidance, drawn.pixels, drawn.batch)
    for start in range(0, len(todo), drawn.batch):
        chunk = todo[start : start + drawn.batch]
        prompts, seeds = [shot.prompt for shot in chunk], [shot.seed for shot in chunk]
        with model.rows.purpose("pictures"):
            pictures = draw_pictures(model, prompts, seeds, drawing)
        for shot, picture in zip(chunk, pictures, strict=True):
            _save(picture, picture_path(folder, shot))
        yield len(shots) - len(todo) + start + len(chunk), len(shots)


def openers(folder: Path, shots: Sequence[Shot]) -> list[Callable[[], Image.Image]]:
    """Functions that read the pictures back, for metrics that look at a few at a time."""
    return [partial(_open, picture_path(folder, shot)) for shot in shots]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG")
