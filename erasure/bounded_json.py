"""Reads JSON that anyone may have written: within bounds of depth, count and size, and of texts that can be shown.

Plain ``json.loads`` takes NaN and Infinity, reads 1e400 as infinite, builds integers of thousands of digits, passes
halves of surrogate pairs on that no file and no answer can hold, and nests as deep as its caller's stack allows.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from erasure.regular_file import read_bytes

_MOST_BYTES = 4_000_000
_MOST_VALUES = 100_000
_DEEPEST = 32
_LONGEST_WHOLE, _LONGEST_REAL = 20, 400  # characters of a number


def parse(text: str | bytes, *, values: int = _MOST_VALUES, depth: int = _DEEPEST, finite: bool = True) -> Any:
    """Return the document of a text, or of bytes in UTF-8 or UTF-16, with a byte order mark or without.

    Raises: ValueError if it is no JSON, or has more than ``values`` values, or lists and
    objects more than ``depth`` deep, or a number or a text that a float or a file cannot hold.
    ``finite`` off: NaN and infinite numbers are taken, as our own programs write them.
    """
    try:
        document = json.loads(
            text,
            parse_int=_whole,
            parse_float=_real if finite else None,
            parse_constant=_no_number if finite else None,
        )
    except RecursionError as error:
        raise ValueError(f"it is nested more than {depth} deep") from error
    _check(document, values, depth)
    return document


def read(path: Path, *, most: int = _MOST_BYTES, values: int = _MOST_VALUES, finite: bool = True) -> Any:
    """Return the document in a file of at most ``most`` bytes.

    Raises: OSError if it cannot be read, ValueError as :func:`parse` does.
    """
    return parse(read_bytes(path, most), values=values, finite=finite)


def _check(document: Any, values: int, depth: int) -> None:
    """Look at every value; level by level, so that the stack need not be as deep as the document."""
    level, count = [document], 0
    for _ in range(depth + 1):
        count += len(level)
        if count > values:
            raise ValueError(f"it has more than {values:,} values")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                inner += value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {depth} deep")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError(f"the text {text[:40]!r} has a NUL character in it")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the text {text[:40]!r} has half of a surrogate pair in it") from error


def _whole(text: str) -> int:
    if len(text) > _LONGEST_WHOLE:
        raise ValueError(f"the number {text[:_LONGEST_WHOLE]}... is too large")
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= _LONGEST_REAL else math.inf
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:_LONGEST_WHOLE]} is too large")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")
