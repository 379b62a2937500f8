"""Copying a LoRA file with other metadata, its weights byte for byte. Needs no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from erasure.safetensors_file import data_start, read_header
from erasure.whole_file import whole_file

_ALIGNED = 8  # bytes; readers map the file and want its numbers aligned


def copy_with_metadata(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Write ``target``, whole or not at all: the weights of ``source`` with ``metadata``. An existing file is replaced.

    Raises: DamagedFile if ``source`` is not sound; OSError.
    """
    read_header(source)  # checks all of it
    with source.open("rb") as old, whole_file(target) as temporary:
        start = data_start(old.read(8))
        entries = json.loads(old.read(start - 8))
        entries["__metadata__"] = dict(metadata)
        header = json.dumps(entries, separators=(",", ":")).encode("utf-8")
        header += b" " * (-len(header) % _ALIGNED)
        with temporary.open("wb") as new:
            new.write(len(header).to_bytes(8, "little") + header)
            shutil.copyfileobj(old, new, 1 << 22)
