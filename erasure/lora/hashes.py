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


def lora_hashes(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """``sshs_model_hash`` and ``sshs_legacy_hash`` of a file with these tensors and this metadata."""
    data = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    return {
        "sshs_model_hash": hashlib.sha256(memoryview(data)[_data_start(data) :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(memoryview(data)[0x100000:0x110000]).hexdigest()[:8],
    }


def content_hash(path: Path) -> str:
    """``sshs_model_hash`` of a file on disk: sha256 of all that follows the header, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(_data_start(file.read(8)))
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _data_start(data: bytes) -> int:
    """A safetensors file begins with the header's length, 8 bytes, little endian; then header, then data."""
    return 8 + int.from_bytes(data[:8], "little")
