"""Names of LoRA files: one that is fit for every system and web UI, and one to suggest for a concept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Sequence
from itertools import count
from pathlib import Path

from erasure.errors import RunError

LONGEST = 100  # characters
# A file name may have 255 bytes on most file systems, and "-step100000-2.safetensors.0123ab.part" comes behind.
_MOST_BYTES = 200
# Reserved on Windows, and ":" and ">" would end the name in <lora:name:weight>.
_FORBIDDEN = '/\\<>:"|?*'
# Device names of Windows, with any extension: learn.microsoft.com, "Naming Files, Paths, and Namespaces".
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_LORA_SUFFIXES = (".safetensors", ".ckpt", ".pt")
_LONGEST_SLUG = 60


def safe_name(name: str) -> str:
    """``name``, unchanged, if a LoRA file can be called so (its stem) and a prompt can name it.

    Raises: RunError that says what is wrong with it.
    """
    problem = _problem(name)
    if problem:
        raise RunError(f"the LoRA cannot be called {name!r}: {problem}")
    return name


def suggest_name(erase: Sequence[str], taken: Container[str] = ()) -> str:
    """A name for a LoRA that erases these concepts: ``erase-garbage-truck``, with ``-2`` and so on if it is taken.

    Lower case and ASCII always, ``erase-concept`` where nothing of the concepts is left in ASCII. ``taken`` holds
    names in lower case, as :func:`taken_names` gives them.
    """
    slugs = [slug for slug in map(_slug, erase) if slug]
    return _numbered("erase-" + ("-".join(slugs)[:_LONGEST_SLUG].strip("-") or "concept"), taken)


def free_name(name: str, lora_folder: Path) -> str:
    """``name``, with ``-2`` and so on where a LoRA of this name is in the folder."""
    return _numbered(name, taken_names(lora_folder))


def taken_names(lora_folder: Path) -> frozenset[str]:
    """The names of all LoRA files in the folder and its sub-folders, case-folded: web UIs tell LoRAs by stem alone."""
    try:
        return frozenset(
            path.stem.casefold() for path in lora_folder.rglob("*") if path.suffix.lower() in _LORA_SUFFIXES
        )
    except OSError:  # a sub-folder that may not be read, or that went away meanwhile
        return frozenset()


def _numbered(base: str, taken: Container[str]) -> str:
    name = base
    for again in count(2):
        if name.casefold() not in taken:
            break
        name = f"{base}-{again}"
    return name


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _problem(name: str) -> str:
    if not name.strip():
        return "it is empty; write a name"
    if name != name.strip():
        return "it begins or ends with a space; leave that out"
    if name.startswith("."):
        return "a name that begins with a dot is hidden; leave the dot out"
    if name.endswith("."):
        return "Windows drops a dot at the end; leave it out"
    found = sorted({character for character in name if character in _FORBIDDEN})
    if found:
        return f"it holds {' '.join(found)}, which file names or prompts cannot have; leave that out"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        return "it holds control characters; leave them out"
    if len(name) > LONGEST or len(name.encode("utf-8")) > _MOST_BYTES:
        return f"it is too long; use at most {LONGEST} characters"
    if _RESERVED.fullmatch(name):
        return "Windows keeps this name for a device; choose another"
    return ""
