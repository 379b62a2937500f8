"""Choosing a few of many, evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most ``count`` of ``items`` in their order: evenly spaced from the first on, each at most once."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
