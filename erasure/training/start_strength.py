"""How strong the closed form that training starts from has to be: measured on the model at hand.

The closed form weighs what goes against what stays. So it stops short of its goal, on one model sooner than on another.
Its edit is made stronger until short samples hardly show the targets any more, and training, which costs what is near
more than the edit does, has little left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from erasure.lora.adapter import DOWN, UP, text_values
from erasure.training.closed_start_sizes import STRENGTHS

# Of what the pictures showed of the targets before, this share is hardly anything.
ENOUGH = 0.04


class Strength(NamedTuple):
    """A strength, and how much of the targets is still shown with it: 1 as before, 0 gone."""

    factor: float
    level: float


def scaled(lora: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return a LoRA's weights, as :func:`erasure.lora.adapter.lora_state` does, with the values' change scaled."""
    values = {name + UP for name in text_values(key.removesuffix(DOWN) for key in lora if key.endswith(DOWN))}
    return {key: weight * factor if key in values else weight for key, weight in lora.items()}


def least_strength(put: Callable[[float], None], level: Callable[[], float]) -> Strength:
    """Return the least of the strengths with which hardly anything is left, else the greatest; it is put in place.

    ``put``: puts the edit in place with a strength; ``level``: how much of the targets is shown with it.
    """
    for factor in STRENGTHS:
        put(factor)
        found = Strength(factor, level())
        if found.level <= ENOUGH:
            break
    return found
