"""What a long piece of work is doing now, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """``what`` is being done, as the rest of a sentence, and ``done`` of ``total`` of it; a total of 0 is not known."""

    what: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.what}: {self.done:,} of {self.total:,}" if self.total else self.what


def counted(what: str, total: int) -> Callable[[float], Stage]:
    """Return what makes a stage of the share that is done of ``total``, begun ones not counted."""
    return lambda share: Stage(what, min(total, math.floor(share * total + 1e-6)), total)
