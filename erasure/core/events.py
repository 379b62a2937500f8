"""What a run tells whoever iterates over it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erasure.core.session import Session


@dataclass(frozen=True)
class Note:
    """Something worth saying once."""

    text: str


@dataclass(frozen=True)
class Opened:
    """The models are loaded. For whoever pauses a run and wants the device for something else meanwhile:
    see :meth:`erasure.core.session.Session.move`. Never logged."""

    session: Session


@dataclass(frozen=True)
class Drawing:
    """Pictures are being drawn: the ``share`` that is done, after every sampling step. Never logged."""

    share: float


@dataclass(frozen=True)
class Planned:
    """What will be done, before it is done; ``plan`` as :meth:`erasure.core.plan.Plan.to_dict` gives it."""

    plan: dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One update is done. ``step`` counts from 1; losses are means over the batch, before their weights."""

    step: int
    steps: int
    erase_loss: float
    preserve_loss: float
    erased: tuple[str, ...]
    preserved: tuple[str, ...]
    learning_rate: float
    rows: int  # U-Net rows evaluated so far in training, forwards without and with gradient alike
    seconds: float  # of training so far, pauses excluded


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
