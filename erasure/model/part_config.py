"""Bounds of the configurations from which the parts of a model are built.

A configuration of a few bytes may ask for a million layers, or for pictures that no memory holds. What is in it is
compared with the weights only once the part is built, so it is looked at before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

_DEEPEST, _MOST_VALUES = 32, 10_000
_LARGEST = 1_000_000  # the longest vocabulary of a text encoder has a quarter of that
_COUNTS = re.compile(r"layers|depth|num_res_blocks")
_MOST_MODULES = 2000  # SDXL's U-Net: 3 blocks of up to 2 layers of up to 10 transformers
LONGEST_SIDE = 4096  # pixels; twice the largest resolution that can be trained
_PLAIN = (str, int, float, bool, type(None))


def check_document(document: object) -> None:
    """Look at the size of a configuration. Raises: ValueError if it has too many values, too deep, or of other types
    than JSON's."""
    for count, (_, value, depth) in enumerate(_walk(document)):
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise ValueError(f"it has more than {_MOST_VALUES:,} values, or they nest more than {_DEEPEST} deep")
        if not isinstance(value, (*_PLAIN, list, dict)):
            raise ValueError(f"it has a value of type {type(value).__name__}")


def check_part(config: object) -> None:
    """Look at the numbers of one part's configuration. Raises: ValueError if one of them is infinite or too large, or
    if they ask for too many layers."""
    check_document(config)
    counts: dict[str, float] = {}
    longest = 1
    for key, value, _ in _walk(config):
        if isinstance(value, list):
            longest = max(longest, len(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if not -_LARGEST <= value <= _LARGEST:  # false for NaN as well
            raise ValueError(f"{key[:60]} is not a number that a model can have")
        if _COUNTS.search(key):
            counts[key] = max(counts.get(key, 1), value)
    if counts and longest * math.prod(counts.values()) > _MOST_MODULES:
        raise ValueError(f"it asks for too many layers ({', '.join(counts)})"[:300])


def _walk(document: object) -> Iterator[tuple[str, Any, int]]:
    """Yield every value with the nearest key above it and its depth, until somebody has seen enough."""
    ahead: list[tuple[str, Any, int]] = [("", document, 0)]
    while ahead:
        key, value, depth = ahead.pop()
        yield key, value, depth
        if isinstance(value, dict):
            ahead += [(name if isinstance(name, str) else key, inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list):
            ahead += [(key, inner, depth + 1) for inner in value]
