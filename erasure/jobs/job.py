"""A job as others see it: what is asked for, and a snapshot of how far it is. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from erasure.config.settings import EraseConfig
from erasure.training.plan import Plan

JobState = Literal[
    "queued",  # waits for its turn
    "preparing",  # waits for the device, loads the checkpoint, measures synonyms, draws the pictures before
    "running",
    "pausing",  # will pause after this update
    "paused",  # the device is given back; everything is kept
    "stopping",  # will stop after this update, or is saving its state and a LoRA
    "done",
    "stopped",  # by the user; can be resumed
    "failed",  # ``problem`` says why; can be resumed if a state was saved
    "interrupted",  # the process ended before the run did; can be resumed
]
ACTIVE: tuple[JobState, ...] = ("queued", "preparing", "running", "pausing", "paused", "stopping")
FINISHED: tuple[JobState, ...] = ("done", "stopped", "failed", "interrupted")
# What a user can do in each state.
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
    """An order for a job; ``name`` is the stem of the LoRA file."""

    checkpoint: Path
    name: str
    config: EraseConfig


@dataclass(frozen=True)
class Result:
    """A finished LoRA file. ``name`` is its stem, as in ``<lora:name:1>``; ``size`` is in bytes.

    ``change``: how much it changes the erased concept's picture on average, in levels of 255; None if not measured.
    """

    name: str
    path: str
    size: int
    change: float | None


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment: all that a page shows of it."""

    id: str
    name: str
    state: JobState
    message: str  # one line that says what it is doing now
    problem: str  # why it failed, "" otherwise
    version: int  # grows with every change of a live job
    checkpoint: str  # the file's base name
    config: dict[str, Any]  # every setting with the value that is used
    asked: dict[str, Any]  # the settings that were asked for
    created: float  # seconds since the epoch
    step: int
    steps: int
    seconds: float  # of training so far, pauses excluded
    seconds_left: float | None
    rows: int  # U-Net rows evaluated in training
    # Points (step, value) by the name of their series, at most 300 each; "erase" and "preserve" are the losses.
    series: dict[str, tuple[tuple[int, float], ...]]
    picks: tuple[tuple[str, int], ...]  # adversarial concepts and how often each was preserved, most often first
    current_pick: str  # the concept preserved in the last update, "" before the first
    learning_rate: float
    previews: tuple[int, ...]  # the updates after which pictures were drawn, ascending
    plan: Plan | None  # None until it is known
    notes: tuple[str, ...]
    result: Result | None

    @property
    def actions(self) -> tuple[str, ...]:
        """What a user can do now: some of pause, resume, stop, discard and delete."""
        return ACTIONS[self.state]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types. The result's path is cut to its base name: a page need not know where files are."""
        values = {**asdict(self), "actions": list(self.actions)}
        if self.result is not None:
            values["result"] = {**asdict(self.result), "path": Path(self.result.path).name}
        return values
