"""The supported families, and their relatives, which only have to be told apart from them.

A new family is a new file and an entry in ``FAMILIES``. The names of tensors are those of the published files (CompVis'
and Stability AI's latent diffusion).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from erasure.families.family import Family, Marks, Relative
from erasure.families.sd1 import SD1
from erasure.families.sd2 import SD2
from erasure.families.sdxl import SDXL

FAMILIES: tuple[Family, ...] = (SD1, SD2, SDXL)

# The first that fits is taken, so the most specific come first.
RELATIVES = (
    Relative("multilingual AltDiffusion", Marks(text_names=("cond_stage_model.roberta.",))),
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
    """Return the advice that ends a refusal, ``Choose a Stable Diffusion 1.x or Stable Diffusion 2 checkpoint.``"""
    return f"Choose a {_listed([family.name for family in families])} checkpoint."


def supported(families: Iterable[Family] = FAMILIES) -> str:
    """Return the families as people read them, ``an SD 1.x, SD 2.x or SDXL``."""
    first, *others = families
    return _listed([str(first), *(family.short for family in others)])


def _listed(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
