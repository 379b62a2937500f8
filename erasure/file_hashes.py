"""The hashes by which web UIs identify weights files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_WINDOW = 0x100000, 0x10000  # what the short hash covers: 64 KiB after the first MiB


def sha256_of_files(files: Iterable[Path], start: int = 0) -> str:
    """Return the sha256 (64 hex digits) of several files in a row, skipping the first ``start`` bytes of each.

    Raises: OSError if a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def short_hash_of_file(path: Path) -> str:
    """Return the old web UI hash: the first 8 hex digits of the sha256 over 64 KiB from byte 0x100000 on.

    Raises: OSError if the file cannot be read.
    """
    first, length = _WINDOW
    with path.open("rb") as file:
        file.seek(first)
        return _short(file.read(length))


def short_hash_of_bytes(data: bytes) -> str:
    """Return what :func:`short_hash_of_file` would, for a file that is still in memory."""
    first, length = _WINDOW
    return _short(memoryview(data)[first : first + length])


def _short(window: bytes | memoryview) -> str:
    return hashlib.sha256(window).hexdigest()[:8]
