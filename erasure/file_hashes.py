"""The hashes by which web UIs know files of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_WINDOW = 0x100000, 0x10000  # where the short hash looks, and how far: 64 KiB behind the first MiB


def sha256_of_files(files: Iterable[Path], start: int = 0) -> str:
    """sha256, 64 hex digits, of files one after the other, each from its byte ``start`` on. Raises: OSError."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def short_hash_of_file(path: Path) -> str:
    """The old web UI hash: first 8 hex digits of sha256 over 64 KiB at 0x100000. Raises: OSError."""
    first, length = _WINDOW
    with path.open("rb") as file:
        file.seek(first)
        return _short(file.read(length))


def short_hash_of_bytes(data: bytes) -> str:
    """Like :func:`short_hash_of_file`, of a file that is not written yet."""
    first, length = _WINDOW
    return _short(memoryview(data)[first : first + length])


def _short(window: bytes | memoryview) -> str:
    return hashlib.sha256(window).hexdigest()[:8]
