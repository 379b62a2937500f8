"""``<lora:name:weight>`` in a prompt, as AUTOMATIC1111 reads it, and the LoRA files that it names."""

from __future__ import annotations

import re
from pathlib import Path

from erasure.errors import LoraFileError
from erasure.file_tree import files_below

_TAG = re.compile(r"<lora:([^:>]+)((?::[^:>]*)*)>")


def split_prompt(prompt: str) -> tuple[str, list[tuple[str, float]]]:
    """Return the prompt without its tags, and (name, weight) of each tag; a missing weight is 1.

    One weight is for all that a file changes. Where a tag has two, it is that for the U-Net: the second number in
    ``<lora:name:te:unet>``, or ``unet=``. Raises: LoraFileError if a weight is not a number.
    """
    tags = [(match[1].strip(), _weight(match[0], match[2])) for match in _TAG.finditer(prompt)]
    return _TAG.sub("", prompt).strip(), tags


def _weight(tag: str, numbers: str) -> float:
    weight = "1"
    for part in numbers.split(":")[1:3]:
        key, equals, value = part.partition("=")
        if not equals:
            weight = part
        elif key.strip() == "unet":
            weight = value
            break
    try:
        return float(weight)
    except ValueError:
        raise LoraFileError(f"{tag} has the weight {weight!r}, which is not a number; write <lora:name:1>") from None


def find_lora(folder: Path, name: str) -> Path:
    """Return the first file of that stem in the folder or its sub-folders. Raises: LoraFileError if there is none."""
    found = loras_called(folder, name)
    if found:
        return found[0]
    there = ", ".join(path.stem for path in _loras(folder)[:5]) or "none"
    raise LoraFileError(f"there is no LoRA called {name!r} in {folder} (it has: {there}); check the name in the prompt")


def loras_called(folder: Path, name: str) -> list[Path]:
    """Return all files of that stem in the folder and its sub-folders."""
    return [path for path in _loras(folder) if path.stem == name]


def _loras(folder: Path) -> list[Path]:
    return sorted(path for path in files_below(folder) if path.suffix.lower() == ".safetensors")
