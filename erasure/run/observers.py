"""Who is asked after every update of a run, and answers with events: it saves its state, it draws previews."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from erasure.run.events import Event, Saved
from erasure.run.pictures import RunPictures
from erasure.training.events import Step


class Observer(Protocol):
    """One thing that may happen between two updates. It changes nothing of the training."""

    def after(self, step: Step) -> Iterator[Event]: ...


@dataclass(frozen=True)
class StateSaver:
    """Saves the state every so many updates (0: never); after the last one the run does so itself."""

    every: int
    save: Callable[[], Saved]

    def after(self, step: Step) -> Iterator[Event]:
        if _due(step, self.every):
            yield self.save()


@dataclass(frozen=True)
class Previewer:
    """Draws the pictures every so many updates (0: never); after the last one the run does so itself."""

    every: int
    pictures: RunPictures

    def after(self, step: Step) -> Iterator[Event]:
        if _due(step, self.every):
            preview, _ = yield from self.pictures.steps()
            yield preview


def _due(step: Step, every: int) -> bool:
    return every > 0 and step.step % every == 0 and step.step < step.steps
