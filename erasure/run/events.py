"""What a run tells whoever iterates over it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erasure.model.stage import Stage
from erasure.training.events import Look, Note, Step
from erasure.training.plan import Plan
from erasure.verdict.verdict import Verdict


@dataclass(frozen=True)
class Opened:
    """The model is loaded. Never logged.

    ``parameters``: weights of its U-Net, without the LoRA; ``pixels``: side of the pictures that are trained on.
    """

    device: str
    parameters: int
    pixels: int
    precision: str


@dataclass(frozen=True)
class Planned:
    """The plan is made; what it says is done next."""

    plan: Plan


@dataclass(frozen=True)
class Measured:
    """A point of a curve: after ``step`` updates, ``series`` (a name) was at ``value``.

    The two losses come with every :class:`Step`; they are the series ``erase`` and ``preserve``.
    """

    step: int
    series: str
    value: float


@dataclass(frozen=True)
class Judged:
    """The verdict on what training did."""

    step: int
    verdict: Verdict


@dataclass(frozen=True)
class Before:
    """The frozen model's pictures are there; ``path`` is their folder."""

    path: Path


@dataclass(frozen=True)
class Preview:
    """Pictures were drawn after ``step`` updates; ``path`` is their folder, see :mod:`erasure.run.picture_folder`."""

    step: int
    path: Path


@dataclass(frozen=True)
class Saved:
    """A state was saved to ``path``, or a LoRA file; ``final``: it is the LoRA of a run that was not stopped.

    ``change`` is None for a state; for a LoRA file, how much it changes the erased concept's picture, in levels of 255.
    """

    step: int
    path: Path
    final: bool = False
    change: float | None = None

    @property
    def is_lora(self) -> bool:
        return self.change is not None


# A stage says what is done before the first update, and whenever pictures are drawn or judged. It is never logged.
Event = Note | Opened | Stage | Planned | Step | Look | Measured | Judged | Before | Preview | Saved


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return the event as plain JSON types with its kind; of paths the name only, since a run folder may move."""
    values = {key: value.name if isinstance(value, Path) else value for key, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **values}
