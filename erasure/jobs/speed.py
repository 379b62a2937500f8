"""How fast runs were on this machine, as they noted it themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.errors import RunError
from erasure.run.folder import job_folders

# Of the newest runs only: a machine changes.
_LOOK_AT = 40


@dataclass(frozen=True)
class Speed:
    """What a whole run took: ``seconds`` for ``rows`` U-Net rows of training, and ``apart`` for all besides.

    ``parameters`` of its U-Net without LoRA; ``pixels``: side of its pictures.
    """

    device: str
    parameters: int
    pixels: int
    precision: str
    rows: int
    seconds: float
    apart: float

    @property
    def work(self) -> float:
        """What one row costs, up to a factor: weights times places where they are used."""
        return float(self.parameters) * self.pixels**2


def past_speeds(runs_folder: Path) -> Iterator[tuple[Speed, dict[str, Any]]]:
    """Speed and config values of finished runs, newest first."""
    for folder in reversed(job_folders(runs_folder)[-_LOOK_AT:]):
        try:
            values = folder.read_job()
            speed, config = Speed(**values["speed"]), dict(values["config"])
        except (RunError, ValueError, KeyError, TypeError):
            continue  # not finished, resumed in between, or damaged
        numbers = (speed.parameters, speed.pixels, speed.rows, speed.seconds)
        if all(isinstance(number, (int, float)) and 0 < number < math.inf for number in numbers):
            yield speed, config
