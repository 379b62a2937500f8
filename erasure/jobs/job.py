"""A job as others see it: what is asked for, and a snapshot of how far it is. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from erasure.config.methods import method_of
from erasure.config.settings import EraseConfig
from erasure.lora.parent import Parent
from erasure.model.stage import Stage
from erasure.training.plan import Plan
from erasure.verdict.verdict import Verdict, told_verdict

JobState = Literal[
    "queued",  # waits for its turn
    "preparing",  # waits for the device, loads the checkpoint, measures synonyms, draws the pictures before
    "running",
    "pausing",  # will pause after this update
    "paused",  # the device is given back; everything is kept
    "stopping",  # will stop after this update, or is saving its state and a LoRA
    "done",
    "stopped",  # by the user; can be resumed
    "failed",  # ``problem`` says why; can be resumed if a state was saved, unless training diverged
    "interrupted",  # the process ended before the run did; can be resumed
]
ACTIVE: tuple[JobState, ...] = ("queued", "preparing", "running", "pausing", "paused", "stopping")
FINISHED: tuple[JobState, ...] = ("done", "stopped", "failed", "interrupted")
# What a user can do in each state. What is done can also be trained on, see actions_of.
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


def actions_of(
    state: JobState, verdict: Verdict | None, config: Mapping[str, Any], *, diverged: bool = False
) -> tuple[str, ...]:
    """Return what a user can do with a job: some of pause, resume, stop, discard, delete and train-on.

    A job that failed because training ``diverged`` would fail again if it were resumed: it has to begin anew.
    ``train-on`` is for a job that is done while its verdict leaves something, unless its method makes no more updates.
    """
    method = method_of({"method": str(config.get("method"))})  # the config may come from a file that anyone can edit
    one_step = method is not None and "steps" in method.unused
    more = state == "done" and verdict is not None and bool(verdict.left) and not one_step
    actions = [name for name in ACTIONS[state] if not (diverged and state == "failed" and name == "resume")]
    return (*(("train-on",) if more else ()), *actions)


@dataclass(frozen=True)
class JobRequest:
    """An order for a job; ``name`` is the stem of the LoRA file. ``parents``: LoRAs that training starts from;
    ``notes``: what people should know of the order, one line each."""

    checkpoint: Path
    name: str
    config: EraseConfig
    parents: tuple[Parent, ...] = ()
    notes: tuple[str, ...] = ()


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
    # Points (step, value) by the name of their series, at most 300 each; "erase" and "preserve" are the losses,
    # "recognised CONCEPT" and "kept" the shares that looks found.
    series: dict[str, tuple[tuple[int, float], ...]]
    picks: tuple[tuple[str, int], ...]  # adversarial concepts and how often each was preserved, most often first
    current_pick: str  # the concept preserved in the last update, "" before the first
    learning_rate: float
    previews: tuple[int, ...]  # the updates after which pictures were drawn, ascending
    plan: Plan | None  # None until it is known
    notes: tuple[str, ...]
    result: Result | None
    verdict: Verdict | None = None  # on the last LoRA; None before the end, and for runs that nothing judged
    stage: Stage | None = None  # what the message says with how far it is; None between stages
    drew_before: bool = False  # the pictures before are there
    diverged: bool = False  # why it failed
    # For this program alone: where the checkpoint lies, and what the LoRA will be called that it makes.
    place: str = ""
    makes: str = ""

    def began_with(self, checkpoint: Path) -> bool:
        """Whether this is the checkpoint that the run began with.

        That is the file in its place or, where nothing lies there any more, one of its name.
        """
        if self.place and is_there(self.place):
            return Path(self.place).absolute() == checkpoint.absolute()
        return self.checkpoint == checkpoint.name

    @property
    def actions(self) -> tuple[str, ...]:
        """What a user can do now, see :func:`actions_of`."""
        return actions_of(self.state, self.verdict, self.config, diverged=self.diverged)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the verdict with what follows from it.

        The result's path is cut to its base name: a page need not know where files are.
        """
        values = {**asdict(self), "actions": list(self.actions), "verdict": None}
        del values["place"], values["makes"]
        if self.verdict is not None:
            values["verdict"] = told_verdict(self.verdict)
        if self.result is not None:
            values["result"] = {**asdict(self.result), "path": Path(self.result.path).name}
        return values


def is_there(place: str) -> bool:
    """Whether a file or folder is there: not, where a drive has gone or a folder is closed to us."""
    try:
        return Path(place).exists()
    except OSError:
        return False
