"""Several files of the Lora folder, each with a weight, as forms hold them: names, and a box of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from erasure.errors import ConfigError, shown
from erasure.jobs.lora_files import lora_file


def weighted_files(folder: Path, loras: Sequence[str], weights: str) -> list[tuple[Path, float]]:
    """Return the files of the Lora folder that are named, with their weights, see :func:`read_weights`.

    Raises: ConfigError.
    """
    if not loras:
        raise ConfigError(["choose at least one LoRA"])
    files = [lora_file(folder, lora) for lora in loras]
    return list(zip(files, read_weights(weights, len(files)), strict=True))


def read_weights(text: str, count: int) -> list[float]:
    """Return the weight of each of ``count`` files from a box that holds one for all, or one for each.

    Raises: ConfigError.
    """
    words = re.split(r"[\s,;]+", text.strip()) if text.strip() else ["1"]
    if len(words) not in (1, count):
        raise ConfigError([f"weights: {len(words)} for {count} LoRAs; give one, or one for each"])
    try:
        weights = [float(word) for word in words]
    except ValueError:
        raise ConfigError([f"weights: {shown(text)} are not numbers, such as 1, 0.8"]) from None
    return weights * count if len(weights) == 1 else weights
