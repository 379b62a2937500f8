"""How fast runs were on this machine, from the records of their jobs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.errors import RunError
from erasure.run.folder import job_folders

# Only the newest runs count: a machine changes.
_LOOK_AT = 40


@dataclass(frozen=True)
class Speed:
    """What a whole run took: ``seconds`` for ``rows`` U-Net rows of training, and ``apart`` seconds for all the rest.

    ``parameters``: weights of its U-Net, without the LoRA; ``pixels``: side of its pictures.
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
        """The cost of one row, up to a factor: weights times the places where they are used."""
        return float(self.parameters) * self.pixels**2


class Stopwatch:
    """Counts the seconds spent inside the blocks of :meth:`running`."""

    def __init__(self) -> None:
        self._before = 0.0
        self._began: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._before, self._began = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds so far, those of a block that is still running included."""
        return self._before + (0.0 if self._began is None else time.monotonic() - self._began)


def speed_of(values: object) -> Speed | None:
    """Return the speed in a record; None if there is none, or it makes no sense."""
    if not isinstance(values, Mapping):
        return None
    try:
        speed = Speed(**values)
    except TypeError:
        return None
    numbers = (speed.parameters, speed.pixels, speed.rows, speed.seconds)
    return speed if all(isinstance(number, (int, float)) and 0 < number < math.inf for number in numbers) else None


def past_speeds(runs_folder: Path) -> Iterator[tuple[Speed, dict[str, Any]]]:
    """Yield speed and config values of finished runs, newest first."""
    for folder in reversed(job_folders(runs_folder)[-_LOOK_AT:]):
        try:
            values = folder.read_job()
        except RunError:
            continue
        # Runs that are not finished, or were resumed in a later process, have no speed.
        speed, config = speed_of(values.get("speed")), values.get("config")
        if speed is not None and isinstance(config, dict):
            yield speed, config
