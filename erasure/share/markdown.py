"""Texts from files that anyone can make, as they are safe to put into Markdown. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LONGEST = 300  # characters of one text
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What means something inside of a line: emphasis, code, links, tables, mathematics, headings, people.
_MARKS = re.compile(r"[\\`*_\[\]|~$#@]|:(?=//)")


def one_line(text: object) -> str:
    """Return a text on one line, shortened, with "?" for what cannot be printed."""
    plain = "".join(character if character.isprintable() else "?" for character in str(text))
    return plain if len(plain) <= _LONGEST else plain[:_LONGEST] + "..."


def escaped(text: object) -> str:
    """Return a text on one line as Markdown that shows exactly it: no HTML, no link, no mark of Markdown."""
    marked = _MARKS.sub(lambda mark: "\\" + mark[0], one_line(text))
    marked = re.sub(r"\bwww\.", lambda found: found[0][:-1] + "\\.", marked, flags=re.IGNORECASE)
    return re.sub("[&<>]", lambda mark: _HTML[mark[0]], marked)


def code(text: object) -> str:
    """Return a text on one line as code within a line."""
    plain = one_line(text)
    fence = "`" * (_longest_run(plain) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}"


def fenced(text: str, language: str = "") -> str:
    """Return a block of code, whatever is in it; every line is made printable."""
    lines = ["".join(c if c.isprintable() else "?" for c in line) for line in text.split("\n")]
    fence = "`" * max(3, _longest_run(text) + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table; cells are Markdown on one line, already escaped."""
    # Even within code, a bar would end the cell.
    safe = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells] for cells in (head, *rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in safe]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
