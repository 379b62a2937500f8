"""Opening files that anyone may have put there: regular ones alone, and not more of them than was agreed on.

A FIFO in place of a file would be waited for without end, and a device such as ``/dev/zero`` never stops.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def regular_size(path: Path) -> int:
    """Return the size in bytes of a regular file. Raises: OSError if it is missing, or anything else than a file."""
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(state.st_mode):
        what = next((what for test, what in _KINDS if test(state.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {what}, not a file", str(path))
    return state.st_size


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes. Raises: OSError, also if it is larger."""
    regular_size(path)
    with path.open("rb") as file:
        content = file.read(most + 1)  # its size is not asked for: it may grow, and files of /proc say 0
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return content
