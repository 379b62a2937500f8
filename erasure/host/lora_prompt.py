"""``<lora:name:weight>`` in a prompt, as AUTOMATIC1111 reads it, and the LoRA files that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.errors import LoraFileError

if TYPE_CHECKING:
    pass

_TAG = re.compile(r"<lora:([^:>]+)((?::[^:>]*)*)>")


def split_prompt(prompt: str) -> tuple[str, list[tuple[str, float]]]:
    """The prompt without its tags, and (name, weight) of each; a missing weight is 1.

    The web UI's second number, ``<lora:name:te:unet>``, and ``unet=`` are the U-Net's weight, and win: this LoRA is
    on the U-Net alone. Raises: LoraFileError for a weight that is no number.
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
        raise LoraFileError(f"{tag} has the weight {weight!r}, which is no number; write <lora:name:1>") from None


def find_lora(folder: Path, name: str) -> Path:
    """The file of that stem below the folder, sub-folders and all. Raises: LoraFileError naming some that exist."""
    files = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    for path in files:
        if path.stem == name:
            return path
    there = ", ".join(path.stem for path in files[:5]) or "none"
    raise LoraFileError(f"there is no LoRA called {name!r} in {folder} (there: {there}); check the name in the prompt")
