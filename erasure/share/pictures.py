"""The pictures of a shared LoRA: those of its run, or else its own cover; of unsafe content none, unless asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from erasure.lora.hashes import content_hash
from erasure.run.cover import is_unsafe
from erasure.run.folder import RunFolder
from erasure.run.preview import BeforeAfter, RunPreview, lay_out

if TYPE_CHECKING:
    from erasure.share.about import About

FOLDER = "pictures"
SHEET, COVER = f"{FOLDER}/before-after.png", f"{FOLDER}/cover.jpg"
_MOST_PIXELS = 4096 * 4096  # of a cover in a stranger's file


@dataclass(frozen=True)
class SharedPictures:
    """``sheet``: of all rows, or the file's own cover; None without pictures. ``left_out``: why some are not shown."""

    sheet: Image.Image | None
    rows: tuple[BeforeAfter, ...]
    left_out: str = ""

    def files(self) -> Iterator[tuple[str, Image.Image]]:
        """Yield each picture with its path within the folder."""
        if self.sheet is not None:
            yield (SHEET if self.rows else COVER), self.sheet
        for number, row in enumerate(self.rows):
            yield row_file(number), row.after[0]


def row_file(number: int) -> str:
    """Return the path of the picture after erasing of a row, within the folder."""
    return f"{FOLDER}/after-{number:02d}.png"


def is_picture_file(path: str) -> bool:
    """Return whether a path within a shared folder is one that this module gives to pictures."""
    name = path.rpartition("/")[2]
    return path in (SHEET, COVER) or (name.startswith("after-") and name.endswith(".png"))


def shared_pictures(about: About, run: Path | None, *, unsafe: bool) -> SharedPictures:
    """Return what is shown of a LoRA; ``unsafe``: pictures of unsafe content as well."""
    if about.unsafe and not unsafe:
        return SharedPictures(None, (), "pictures are left out, since it erases unsafe content")
    rows = _run_rows(run) if run is not None else []
    shown = [row for row in rows if unsafe or not is_unsafe([row.subject.concept, row.subject.prompt])]
    left_out = "pictures of unsafe content are left out" if len(shown) < len(rows) else ""
    if shown:
        return SharedPictures(lay_out(shown), tuple(shown), left_out)
    return SharedPictures(_cover(about.metadata.get("ssmd_cover_images", "")), (), left_out)


def find_run(lora: Path, places: Sequence[Path]) -> Path | None:
    """Return the run folder in one of ``places`` that made a LoRA file, known by its content; None if there is none."""
    wanted = None
    for place in places:
        for file in sorted(place.glob("*/lora.safetensors")):
            try:
                if file.stat().st_size != lora.stat().st_size:
                    continue
                wanted = wanted or content_hash(lora)
                if content_hash(file) == wanted:
                    return file.parent
            except OSError:
                continue
    return None


def _run_rows(run: Path) -> list[BeforeAfter]:
    """Return the last pictures of a run, none if they cannot be read, or if it kept only a sheet of them."""
    folder = RunFolder(run)
    steps = folder.previews()
    try:
        preview = RunPreview(folder, max(steps)) if steps else None
        return [] if preview is None or preview.is_sheet else preview.rows()
    except (OSError, ValueError, SyntaxError):
        return []


def _cover(text: str) -> Image.Image | None:
    """Return the first cover in a file's metadata as bare pixels, None if there is none or it is damaged."""
    try:
        covers = json.loads(text) if text else []
        with Image.open(io.BytesIO(base64.b64decode(covers[0], validate=True)), formats=("JPEG", "PNG")) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            image = opened.convert("RGB")
        return Image.frombytes("RGB", image.size, image.tobytes())
    except (
        OSError,
        ValueError,
        SyntaxError,
        KeyError,
        IndexError,
        TypeError,
        RecursionError,
        Image.DecompressionBombError,
    ):
        return None
