"""The two hashes by which web UIs know a LoRA file, as kohya's sd-scripts defines them.

``sshs_model_hash``: sha256 of the file's bytes after the header, so that edited metadata leaves it alone.
``sshs_legacy_hash``: the first 8 hex digits of the sha256 over the 64 KiB from 0x100000 of the serialisation
that has only the ``ss_*`` metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from erasure.file_hashes import sha256_of_files, short_hash_of_bytes
from erasure.safetensors_file import data_start


def lora_hashes(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """``sshs_model_hash`` and ``sshs_legacy_hash`` of a file with these tensors and this metadata."""
    data = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    return {
        "sshs_model_hash": hashlib.sha256(memoryview(data)[data_start(data) :]).hexdigest(),
        "sshs_legacy_hash": short_hash_of_bytes(data),
    }


def content_hash(path: Path) -> str:
    """``sshs_model_hash`` of a file on disk: sha256 of all that follows the header, 64 hex digits."""
    with path.open("rb") as file:
        start = data_start(file.read(8))
    return sha256_of_files([path], start)
