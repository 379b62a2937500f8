"""Numbers of things in words."""

from __future__ import annotations


def number_of(count: int, noun: str) -> str:
    """Return "1 token", or "1,200 tokens", for a noun with a regular plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
