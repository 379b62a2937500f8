"""Sizes of the edit of the text encoders with which it is over at once: most tests do not look at what it does."""

from __future__ import annotations

from typing import Any

# By name in erasure.training.text_start.
SIZES: dict[str, Any] = {
    "first_steps": lambda targets: 3,
    "MORE_STEPS": 2,
    "WORDING_STEPS": 2,
    "RATES": (4e-3,),
    "TRIED_STEPS": 1,
    "NEAR": 4,
    "FAR": 4,
    "ERASED": 4,
}
