"""Names of LoRA files: whether one works on every system and in prompts, and which to suggest for a concept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from itertools import count
from pathlib import Path

from erasure.errors import RunError, shown
from erasure.file_tree import files_below

LONGEST = 100  # characters
# A file name may have 255 bytes on most file systems, and "-step100000-2.safetensors.0123ab.part" may be added.
_MOST_BYTES = 200
# Reserved on Windows; ":" and ">" would also end the name in <lora:name:weight>.
_FORBIDDEN = '/\\<>:"|?*'
# Device names of Windows, with any extension: learn.microsoft.com, "Naming Files, Paths, and Namespaces".
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_LORA_SUFFIXES = (".safetensors", ".ckpt", ".pt")
_LONGEST_SLUG = 60


def safe_name(name: str, what: str = "LoRA") -> str:
    """Return ``name`` unchanged if it can be the stem of a LoRA file and be used in a prompt.

    ``what``: is to be called so; the rules for other files of web UIs are the same.

    Raises: RunError, which says what is wrong with it.
    """
    problem = _problem(name)
    if problem:
        raise RunError(f"the {what} cannot be called {shown(name)}: {problem}")
    return name


def suggest_name(erase: Sequence[str], taken: Container[str] = ()) -> str:
    """Suggest a name for a LoRA that erases these concepts: ``erase-garbage-truck``, or with ``-2`` if it is taken.

    It is lower case and ASCII: ``erase-concept`` if ASCII has nothing of the concepts. ``taken``: names in lower case,
    as :func:`taken_names` returns them.
    """
    slugs = [slug for slug in map(_slug, erase) if slug]
    return _numbered("erase-" + ("-".join(slugs)[:_LONGEST_SLUG].strip("-") or "concept"), taken)


def free_name(name: str, lora_folder: Path, coming: Iterable[str] = ()) -> str:
    """Return ``name``, with ``-2``, ``-3``, ... behind it if the folder has a LoRA of this name.

    ``coming``: names of LoRAs that jobs will make.
    """
    return _numbered(name, {*taken_names(lora_folder), *(other.casefold() for other in coming)})


def taken_names(lora_folder: Path) -> frozenset[str]:
    """Return the case-folded stems of all LoRA files in the folder and below. Web UIs know a LoRA by its stem."""
    return frozenset(path.stem.casefold() for path in files_below(lora_folder) if path.suffix.lower() in _LORA_SUFFIXES)


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
        return "it begins or ends with a space; remove that space"
    if name.startswith("."):
        return "files whose names begin with a dot are hidden; remove the dot"
    if name.endswith("."):
        return "Windows drops a dot at the end; remove the dot"
    found = sorted({character for character in name if character in _FORBIDDEN})
    if found:
        return f"it has {' '.join(found)} in it, which file names or prompts cannot have; remove that"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        return "it has control characters in it; remove them"
    if len(name) > LONGEST or len(name.encode("utf-8")) > _MOST_BYTES:
        return f"it is too long; use at most {LONGEST} characters"
    if _RESERVED.fullmatch(name):
        return "Windows reserves this name for a device; choose another"
    return ""
