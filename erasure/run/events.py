"""What a run tells whoever iterates over it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erasure.training.events import Note, Step
from erasure.training.session import Session


@dataclass(frozen=True)
class Opened:
    """The models are loaded. For whoever pauses a run and wants the device for something else meanwhile:
    see :meth:`erasure.training.session.Session.move`. Never logged."""

    session: Session


@dataclass(frozen=True)
class Drawing:
    """Pictures are being drawn: the ``share`` that is done, after every sampling step. Never logged."""

    share: float


@dataclass(frozen=True)
class Planned:
    """What will be done, before it is done; ``plan`` as :meth:`erasure.training.plan.Plan.to_dict` gives it."""

    plan: dict[str, Any]


@dataclass(frozen=True)
class Preview:
    """A grid of pictures before and after ``step`` updates was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class Saved:
    """A state was saved, or (``final``) the LoRA file; ``path`` is its place.

    ``change``, for a LoRA file: by how much it moves the erased concept's picture, in levels of 255.
    """

    step: int
    path: Path
    final: bool = False
    change: float | None = None


Event = Note | Opened | Drawing | Planned | Step | Preview | Saved


def event_to_dict(event: Event) -> dict[str, Any]:
    """Plain JSON types, with the event's kind; paths by name only, since a run folder may move."""
    values = {key: value.name if isinstance(value, Path) else value for key, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **values}
