"""Pictures on disk: a folder with one PNG each, and ``pictures.json``, which says what each of them shows.

``pictures.json`` is an object with one list, ``pictures``. Each entry has ``file``, ``concept``, ``prompt``, ``role``
(``erased``, ``protected`` or ``other``), ``seed`` and ``step``: the number of updates after which it was drawn, or
null if the frozen model drew it. Needs no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from erasure.whole_file import whole_file, write_json

INDEX = "pictures.json"
_LONGEST = 40

Role = Literal["erased", "protected", "other"]


@dataclass(frozen=True)
class Subject:
    """What is drawn: ``concept`` in ``prompt``. The role "other": it has nothing to do with the erased concepts."""

    concept: str
    prompt: str
    role: Role


@dataclass(frozen=True)
class Picture:
    """One image of a run. ``step``: the updates after which it was drawn; None: the frozen model drew it."""

    subject: Subject
    seed: int
    step: int | None
    image: Image.Image


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Replace the pictures in the folder. The index is written last: without it, there are none. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / INDEX, *folder.glob("*.png")):
        old.unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        subject = picture.subject
        slug = re.sub(r"[^a-z0-9]+", "-", subject.concept.lower())[:_LONGEST].strip("-")
        file = "-".join(part for part in (f"{number:02d}", slug, f"seed-{picture.seed}.png") if part)
        with whole_file(folder / file) as temporary:
            picture.image.save(temporary, format="PNG")
        about = {"concept": subject.concept, "prompt": subject.prompt, "role": subject.role}
        rows.append({"file": file, **about, "seed": picture.seed, "step": picture.step})
    write_json(folder / INDEX, {"pictures": rows})


def read_pictures(folder: Path) -> list[Picture]:
    """Read the pictures in a folder.

    Raises: OSError if a file is not there or no picture; ValueError if the index makes no sense.
    """
    values = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    try:
        return [_read(folder, row) for row in values["pictures"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / INDEX} does not say what the pictures show: {error!r}") from error


def known_pictures(folder: Path) -> list[Picture]:
    """Read the pictures in a folder; return none if they are missing or damaged."""
    with suppress(OSError, ValueError):
        return read_pictures(folder)
    return []


def _read(folder: Path, row: dict[str, Any]) -> Picture:
    step, role = row["step"], row["role"]
    if role not in get_args(Role):
        raise ValueError(f"{folder / INDEX}: {role!r} is not a role of a picture")
    # Only the name is used: an index must not lead to other files.
    file = folder / Path(str(row["file"])).name
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except SyntaxError as error:  # Pillow's, for some damages of a PNG
        raise ValueError(f"{file} is damaged: {error}") from error
    subject = Subject(str(row["concept"]), str(row["prompt"]), role)
    return Picture(subject, int(row["seed"]), None if step is None else int(step), image)
