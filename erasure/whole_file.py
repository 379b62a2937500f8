"""Writing files and folders so that they appear complete or not at all."""

from __future__ import annotations

import json
import secrets
import shutil
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


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new empty folder beside ``path``; it takes that name if the block ends without an error.

    It is always cleaned up. Raises: OSError if it cannot be made, or if there is something called ``path``.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(3)}.part")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():  # an empty folder would be replaced
            raise FileExistsError(f"{path} exists")
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, without changing line ends. Raises: OSError if the file cannot be written."""
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, values: object) -> None:
    """Write ``values`` as JSON. Raises: OSError if the file cannot be written."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1))
