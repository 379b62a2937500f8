"""What a run tells whoever iterates over it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erasure.training.events import Note, Step


@dataclass(frozen=True)
class Opened:
    """The model is loaded. Never logged.

    ``parameters`` of its U-Net without LoRA; ``pixels``: side of the pictures that are trained on.
    """

    device: str
    parameters: int
    pixels: int
    precision: str


@dataclass(frozen=True)
class Drawing:
    """Pictures are being drawn: the ``share`` that is done, after every sampling step. Never logged."""

    share: float


@dataclass(frozen=True)
class Planned:
    """What will be done, before it is done; ``plan`` as :meth:`erasure.training.plan.Plan.to_dict` gives it."""

    plan: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """A point of a curve: after ``step`` updates, ``series`` (a name) was at ``value``.

    The two losses come with every :class:`Step`; they are the series ``erase`` and ``preserve``.
    """

    step: int
    series: str
    value: float


@dataclass(frozen=True)
class Preview:
    """Pictures after ``step`` updates were drawn; ``path`` is their folder, see :mod:`erasure.run.picture_folder`."""

    step: int
    path: Path


@dataclass(frozen=True)
class Saved:
    """A state was saved, or a LoRA file (``final``: that of a run that came to its end); ``path`` is its place.

    ``change``, for a LoRA file: by how much it moves the erased concept's picture, in levels of 255.
    """

    step: int
    path: Path
    final: bool = False
    change: float | None = None

    @property
    def is_lora(self) -> bool:
        return self.change is not None


Event = Note | Opened | Drawing | Planned | Step | Measured | Preview | Saved


def event_to_dict(event: Event) -> dict[str, Any]:
    """Plain JSON types, with the event's kind; paths by name only, since a run folder may move."""
    values = {key: value.name if isinstance(value, Path) else value for key, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **values}
