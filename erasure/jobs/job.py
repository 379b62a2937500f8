"""A job as others see it: what was asked for, and a snapshot of how far it is. Plain data, no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from erasure.config.settings import EraseConfig

JobState = Literal[
    "queued",  # waits for its turn
    "preparing",  # waits for the device, loads the checkpoint, measures synonyms, draws the pictures before
    "running",
    "pausing",  # will pause after the update at hand
    "paused",  # the device is given back; everything is kept
    "stopping",  # will stop after the update at hand; a LoRA and a state are being saved
    "done",
    "stopped",  # by the user; can be resumed
    "failed",  # ``problem`` says why; can be resumed if a state was saved
    "interrupted",  # the process ended in the middle of it; can be resumed
]
ACTIVE: tuple[JobState, ...] = ("queued", "preparing", "running", "pausing", "paused", "stopping")
FINISHED: tuple[JobState, ...] = ("done", "stopped", "failed", "interrupted")
# What a user can do, as a function of the state alone.
ACTIONS: dict[JobState, tuple[str, ...]] = {
    "queued": ("discard",),
    "preparing": ("discard",),
    "running": ("pause", "stop", "discard"),
    "pausing": ("stop", "discard"),
    "paused": ("resume", "stop", "discard"),
    "stopping": (),
    "done": ("delete",),
    "stopped": ("resume", "delete"),
    "failed": ("resume", "delete"),
    "interrupted": ("resume", "delete"),
}


@dataclass(frozen=True)
class JobRequest:
    """Erase as ``config`` says from ``checkpoint``; the LoRA is called ``name`` (a file's stem)."""

    checkpoint: Path
    name: str
    config: EraseConfig


@dataclass(frozen=True)
class Result:
    """A finished LoRA file. ``name`` is its stem, as in ``<lora:name:1>``; ``change`` the self-check's mean change of
    the erased concept's picture in levels of 255, None if it was stopped before that could be known."""

    name: str
    path: str
    size: int
    change: float | None


@dataclass(frozen=True)
class Snapshot:
    """All that a page shows of a job."""

    id: str
    name: str
    state: JobState
    message: str  # one line for people: what it is doing now
    problem: str  # why it failed, "" otherwise
    version: int  # grows with every change of a live job
    checkpoint: str  # the file's base name
    config: dict[str, Any]  # every setting with the value that is used
    asked: dict[str, Any]  # those that were asked for, as they were asked for
    created: float  # seconds since the epoch
    step: int
    steps: int
    seconds: float  # of training so far, pauses excluded
    seconds_left: float | None
    rows: int  # U-Net rows evaluated in training
    # (step, value) by the name of what was measured, each thinned to at most 300 points; "erase" and "preserve" are the
    # losses, means over the batch.
    series: dict[str, tuple[tuple[int, float], ...]]
    picks: tuple[tuple[str, int], ...]  # adversarial concepts and how often each was preserved, most often first
    current_pick: str  # the concept preserved in the last update, "" before the first
    learning_rate: float
    previews: tuple[int, ...]  # steps at which a before/after grid was drawn, ascending
    plan: dict[str, Any] | None  # Plan.to_dict(), once it is known
    notes: tuple[str, ...]
    result: Result | None

    @property
    def actions(self) -> tuple[str, ...]:
        """Subset of pause, resume, stop, discard, delete."""
        return ACTIONS[self.state]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``path`` of the result by its base name, since a page need not know where things lie."""
        values = {**asdict(self), "actions": list(self.actions)}
        if self.result is not None:
            values["result"] = {**asdict(self.result), "path": Path(self.result.path).name}
        return values
