"""A file that is read by a library, and followed while it is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path


class WatchedFile(io.BufferedIOBase):
    """A file opened for reading. Before every read ``seen`` is called with its place, in bytes, and may raise.

    Raises: OSError if it cannot be opened.
    """

    def __init__(self, path: Path):
        self.seen: Callable[[int], None] = lambda place: None
        self._file = path.open("rb")

    def read(self, size: int | None = -1, /) -> bytes:
        self.seen(self._file.tell())
        return self._file.read(size)

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
