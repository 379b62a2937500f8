"""Lists of texts as people write them in one box, and back."""

from __future__ import annotations

from collections.abc import Sequence


def split_texts(written: str | None) -> list[str]:
    """Return the texts in a box: one per line, or separated by commas if there is only one line.

    Texts that hold commas go on lines of their own; a single one needs a line break at its end. Empty texts are left
    out.
    """
    return [text for text in _parts(written) if text]


def split_anchors(written: str | None) -> list[str]:
    """Return the texts as :func:`split_texts` does, but keep empty ones among others: they stand for "nothing"."""
    parts = _parts(written)
    return parts if any(parts) else []


def split_lines(written: str | None) -> list[str]:
    """Return one text per line, commas included; empty lines are left out."""
    return [line.strip() for line in (written or "").splitlines() if line.strip()]


def join_texts(texts: Sequence[str]) -> str:
    """Return what :func:`split_texts` reads as these texts."""
    if not any("," in text for text in texts):
        return ", ".join(texts)
    return "\n".join(texts) + ("\n" if len(texts) == 1 else "")


def _parts(written: str | None) -> list[str]:
    written = written or ""
    if "\n" in written.strip(" "):
        parts = written.strip(" ").split("\n")
        parts = parts[:-1] if parts[-1].strip() == "" else parts
    else:
        parts = written.split(",")
    return [part.strip() for part in parts]
