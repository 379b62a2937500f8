"""The weights at which LoRA files are asked for, as in ``<lora:name:weight>``. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from erasure.errors import ConfigError, shown

LARGEST_WEIGHT = 10.0


def check_weights(loras: Sequence[tuple[Path, Any]]) -> None:
    """Check what a person named: at least one file, none of them twice, each with a weight that does something.

    Raises: ConfigError with every problem.
    """
    problems = [] if loras else ["lora: name at least one LoRA file"]
    for path, weight in loras:
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool) and math.isfinite(weight)
        if not number or abs(weight) > LARGEST_WEIGHT:
            problems.append(
                f"lora: the weight {shown(weight)} of {path.name} is not a number from -{LARGEST_WEIGHT:g} to "
                f"{LARGEST_WEIGHT:g}"
            )
        elif weight == 0:
            problems.append(f"lora: at weight 0 {path.name} changes nothing; leave it out")
    places = [path.resolve() for path, _ in loras]
    problems += [
        f"lora: {path.name} is given more than once; give the sum of its weights"
        for path in dict.fromkeys(path for path, _ in loras if places.count(path.resolve()) > 1)
    ]
    if problems:
        raise ConfigError(problems)
