"""What web UIs show of a LoRA: a picture and a note in files of its name beside it.

File formats: AUTOMATIC1111's "user metadata" (``X.json`` beside ``X.safetensors``), which Forge shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from erasure.run.cover import cover_picture
from erasure.run.preview import RunPreview
from erasure.whole_file import whole_file

COVER_SIDE = 768
UNKNOWN_VERSION = "Unknown"


def write_card(
    lora: Path,
    description: str,
    notes: str = "",
    preview: RunPreview | None = None,
    *,
    version: str,
    after_only: bool = False,
) -> list[Path]:
    """Write ``X.json`` and, from a run's preview, ``X.png`` beside the LoRA file ``X.safetensors``.

    ``version``: the family of its base model, as web UIs call it.
    ``after_only``: the pictures that the base model drew stay out of it, see :func:`cover_picture`. A file that is
    there already is left as it is. Returns what was written. Raises: OSError, ValueError.
    """
    values: dict[str, Any] = {
        "description": description,
        "sd version": version,
        "activation text": "",
        "preferred weight": 1,
        "negative text": "",
        "notes": notes,
    }
    text = json.dumps(values, ensure_ascii=False, indent=4)
    written = [_write_new(lora.with_suffix(".json"), lambda path: path.write_text(text, encoding="utf-8"))]
    cover = None if preview is None else _small_cover(preview, after_only)
    if cover is not None:
        written.append(_write_new(lora.with_suffix(".png"), lambda path: cover.save(path, format="PNG")))
    return [path for path in written if path is not None]


def _write_new(target: Path, write: Callable[[Path], Any]) -> Path | None:
    if target.exists():
        return None
    with whole_file(target) as temporary:
        write(temporary)
    return target


def _small_cover(preview: RunPreview, after_only: bool) -> Image.Image | None:
    """None where there is only a sheet, which shows too much; else from bare pixels."""
    if preview.is_sheet:
        return None
    cover = cover_picture(preview.rows(), after_only=after_only)
    cover.thumbnail((COVER_SIDE, COVER_SIDE))
    return cover
