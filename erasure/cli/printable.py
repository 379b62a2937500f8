"""Texts from files that anyone can make, as they are safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with a question mark for every character that could control a terminal, line breaks included."""
    return "".join(character if character.isprintable() else "?" for character in text)
