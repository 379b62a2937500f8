"""The card of a LoRA: a picture and a note beside its file, which web UIs show.

File formats: AUTOMATIC1111's "user metadata" (``X.json`` beside ``X.safetensors``), which Forge shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from erasure.run.cover import cover_picture
from erasure.run.preview import BeforeAfter, RunPreview
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
    if preview is not None and not preview.is_sheet:  # a sheet alone is too crowded for a small picture
        written.append(write_cover(lora, preview.rows(), after_only=after_only))
    return [path for path in written if path is not None]


def write_cover(lora: Path, rows: Sequence[BeforeAfter], *, after_only: bool = False) -> Path | None:
    """Write ``X.png`` beside the LoRA file ``X.safetensors``, see :func:`cover_picture`.

    Returns the file, None if there was one before, which is left as it is. Raises: OSError, ValueError.
    """
    cover = cover_picture(rows, after_only=after_only)
    cover.thumbnail((COVER_SIDE, COVER_SIDE))
    return _write_new(lora.with_suffix(".png"), lambda path: cover.save(path, format="PNG"))


def _write_new(target: Path, write: Callable[[Path], object]) -> Path | None:
    if target.exists():
        return None
    with whole_file(target) as temporary:
        write(temporary)
    return target
