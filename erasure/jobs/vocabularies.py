"""The user's own vocabularies: text files with one prompt per line, in a folder beside the runs."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from erasure.concepts.vocabulary import parse_words
from erasure.errors import ConceptError, ConfigError, RunError, shown
from erasure.whole_file import write_text

MOST_BYTES = 8 * 2**20
_LONGEST_NAME = 80
_STRANGE = re.compile(r"[^\w .()+-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
# UTF-16 can only be told from other bytes by a mark at its beginning.
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def vocabulary_names(folder: Path) -> list[str]:
    """Return the names of all files in the folder."""
    return sorted(path.name for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []


def kept_vocabulary(folder: Path, name: str) -> Path:
    """Return the path of a kept file: requests must not be able to name any other file. Raises: ConfigError."""
    names = vocabulary_names(folder)
    if name not in names:
        there = ", ".join(names) or "none yet"
        raise ConfigError(
            [f"vocabulary_file: there is no {shown(name)} in {folder.name} (there are: {there}); upload it first"]
        )
    return folder / name


def keep_vocabulary(folder: Path, name: str, content: bytes) -> Path:
    """Write a user's file into ``folder`` as UTF-8, under its own name made safe, and return its path.

    A file is never overwritten, since earlier runs refer to it: the same text is kept once, and another text of the
    same name gets a number. Raises: ConceptError if it is no list of prompts, or too large; RunError if the folder
    cannot be written.
    """
    text = _decoded(name, content)
    parse_words(text, name)
    stem = _STRANGE.sub("-", Path(name.replace("\\", "/")).stem).strip(" .-")[:_LONGEST_NAME].strip(" .-") or "words"
    path = folder / f"{stem}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for again in count(2):
            if not path.exists():
                break
            if path.is_file() and path.read_bytes() == text.encode("utf-8"):
                return path
            path = folder / f"{stem}-{again}.txt"
        write_text(path, text)
    except OSError as error:
        raise RunError(
            f"{path.name} cannot be kept: {error.strerror or error}; free some disk space or check permissions"
        ) from error
    return path


def _decoded(name: str, content: bytes) -> str:
    if len(content) > MOST_BYTES:
        raise ConceptError(f"{name} is larger than {MOST_BYTES // 2**20} MB; give a text file with one prompt per line")
    try:
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConceptError(f"{name} is not UTF-8 text; save it as UTF-8, with one prompt per line") from error
    if _CONTROL.search(text):
        raise ConceptError(f"{name} is not a text file; give UTF-8 text with one prompt per line")
    return text
