"""Writing files so that they appear complete or not at all."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` if the block ends without an error.

    Its name is new every time, so several processes may write the same file. It is always cleaned up.
    Raises: OSError if the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(3)}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, without changing line ends. Raises: OSError if the file cannot be written."""
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, values: object) -> None:
    """Write ``values`` as JSON. Raises: OSError if the file cannot be written."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1))
