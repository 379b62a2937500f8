"""What is asked after every update of a run and answers with events: saving the state, drawing previews."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from erasure.run.events import Event, Saved
from erasure.run.pictures import RunPictures
from erasure.run.tuned_model import TunedModel
from erasure.training.events import Step


class Observer(Protocol):
    """Something that may happen between two updates. It must not change the training."""

    def after(self, step: Step) -> Iterator[Event]:
        """Do what is due after this update, and yield what happened."""


# Makes an observer of the model that the run has opened.
MakeObserver = Callable[[TunedModel], Observer]


@dataclass(frozen=True)
class StateSaver:
    """Saves the state every ``every`` updates (0: never), but not after the last one: the run itself does that."""

    every: int
    save: Callable[[], Saved]

    def after(self, step: Step) -> Iterator[Event]:
        if _due(step, self.every):
            yield self.save()


@dataclass(frozen=True)
class Previewer:
    """Draws the pictures every ``every`` updates (0: never), but not after the last one: the run itself does that."""

    every: int
    pictures: RunPictures

    def after(self, step: Step) -> Iterator[Event]:
        if _due(step, self.every):
            preview, _ = yield from self.pictures.steps()
            yield preview


def _due(step: Step, every: int) -> bool:
    return every > 0 and step.step % every == 0 and step.step < step.steps
