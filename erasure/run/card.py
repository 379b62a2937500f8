"""The card of a LoRA: a picture and a note beside its file, which web UIs show.

File formats: AUTOMATIC1111's "user metadata" (``X.json`` beside ``X.safetensors``), which Forge shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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

    ``version``: the family of the base model, as web UIs call it. ``after_only``: leave out what the base model drew,
    see :func:`cover_picture`. Never overwrites a file. Returns the files written. Raises: OSError, ValueError.
    """
    values = {
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


def _write_new(target: Path, write: Callable[[Path], object]) -> Path | None:
    if target.exists():
        return None
    with whole_file(target) as temporary:
        write(temporary)
    return target


def _small_cover(preview: RunPreview, after_only: bool) -> Image.Image | None:
    """The cover, from the pictures themselves; None if there is only a sheet of them, too crowded for a small one."""
    if preview.is_sheet:
        return None
    cover = cover_picture(preview.rows(), after_only=after_only)
    cover.thumbnail((COVER_SIDE, COVER_SIDE))
    return cover
