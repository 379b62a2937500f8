"""The two hashes by which web UIs identify a LoRA file, as defined by kohya's sd-scripts.

``sshs_model_hash``: sha256 of the file's bytes after the header, which editing the metadata does not change.
``sshs_legacy_hash``: first 8 hex digits of the sha256 over 64 KiB from byte 0x100000 on, of a file with only the
``ss_*`` metadata.
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
    """Return ``sshs_model_hash`` and ``sshs_legacy_hash`` of a file with these tensors and this metadata."""
    data = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    return {
        "sshs_model_hash": hashlib.sha256(memoryview(data)[data_start(data) :]).hexdigest(),
        "sshs_legacy_hash": short_hash_of_bytes(data),
    }


def content_hash(path: Path) -> str:
    """Return the ``sshs_model_hash`` of a file on disk: sha256 of everything after the header, 64 hex digits."""
    with path.open("rb") as file:
        start = data_start(file.read(8))
    return sha256_of_files([path], start)
