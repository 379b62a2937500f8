"""The supported families, and their relatives, which only have to be told apart from them.

A new family is a new file and an entry in ``FAMILIES``. The names of tensors are those of the published files (CompVis'
and Stability AI's latent diffusion).
"""

from __future__ import annotations

from collections.abc import Iterable

from erasure.families.family import Family, Marks, Relative
from erasure.families.sd1 import SD1
from erasure.families.sd2 import SD2
from erasure.families.sdxl import SDXL

FAMILIES: tuple[Family, ...] = (SD1, SD2, SDXL)

# The first that fits is taken, so the most specific come first.
RELATIVES = (
    Relative(SDXL.name, SDXL.marks),
    Relative("Stable Diffusion XL refiner", Marks(text_names=("conditioner.embedders.0.model.",), context=(1280,))),
    Relative(SD2.name, SD2.marks),
)


def relatives_besides(chosen: Iterable[Family], families: Iterable[Family] = ()) -> list[Relative]:
    """Return all models that are known by name, ``families`` included, except the chosen ones."""
    names = {family.name for family in chosen}
    known = [*RELATIVES, *(Relative(family.name, family.marks) for family in families)]
    return [relative for relative in known if relative.name not in names]


def choose(families: Iterable[Family] = FAMILIES) -> str:
    """Return the advice that ends a refusal, ``Choose a Stable Diffusion 1.x checkpoint.``"""
    return f"Choose a {' or '.join(family.name for family in families)} checkpoint."


def supported(families: Iterable[Family] = FAMILIES) -> str:
    """Return the families as people read them, ``an SD 1.x`` (or ``an SD 1.x or an SDXL``)."""
    return " or ".join(map(str, families))
