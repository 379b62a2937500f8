"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to, which takes its place if the block ends without an error.

    The temporary name is new every time, so that several processes may write the same file; it never stays behind.
    Raises: OSError.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(3)}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """As UTF-8, line ends as they are. Raises: OSError."""
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, values: Any) -> None:
    """Raises: OSError."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1))
