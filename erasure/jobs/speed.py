"""How fast runs were on this machine, as they noted it themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erasure.training.session import Session

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


def model_facts(session: Session, device: str) -> dict[str, Any]:
    """The fields of :class:`Speed` that are known once a model is loaded."""
    unet = session.model.unet
    parameters = sum(weight.numel() for name, weight in unet.named_parameters() if "lora_" not in name)
    precision = session.trainer.config.precision
    return {"device": device, "parameters": parameters, "pixels": session.model.pixels, "precision": precision}


def past_speeds(runs_folder: Path) -> Iterator[tuple[Speed, dict[str, Any]]]:
    """Speed and config values of finished runs, newest first."""
    for path in sorted(runs_folder.glob("*/job.json"), key=lambda path: path.parent.name, reverse=True)[:_LOOK_AT]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            speed, config = Speed(**values["speed"]), dict(values["config"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not finished, resumed in between, or damaged
        numbers = (speed.parameters, speed.pixels, speed.rows, speed.seconds)
        if all(isinstance(number, (int, float)) and 0 < number < math.inf for number in numbers):
            yield speed, config
