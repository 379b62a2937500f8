"""Stands in for training: the same events, files and promises as ``erasure.run.run``, without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from erasure.errors import EraseError
from erasure.run.events import Drawing, Event, Opened, Planned, Preview, Saved
from erasure.run.folder import RunFolder
from erasure.run.output import check_output, stopped_name
from erasure.run.run import Task
from erasure.run.state import load_state, save_state
from erasure.training.events import Step

PATIENCE = 30.0  # seconds; only a broken manager needs them all


class Hold:
    """A place where the worker waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached, self._released = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._reached.set()
        assert self._released.wait(PATIENCE)

    def reached(self) -> None:
        assert self._reached.wait(PATIENCE)

    def release(self) -> None:
        self._released.set()


class ScriptedRun:
    """``at`` holds what is called, in the worker's thread, before a step is made, at "open" and "finish", or before
    the event that says how much of the pictures before is drawn ("drawn 0.5")."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.at: dict[int | str, Callable[[], Any]] = {}
        self.moves: list[str] = []
        self.started_at: list[int] = []  # the step each run began after
        monkeypatch.setattr("erasure.run.run.erase", self.erase)
        monkeypatch.setattr("erasure.run.run.resume", self.resume)
        # There is no model to free, and looking for one takes longer than all the rest.
        monkeypatch.setattr("erasure.jobs.worker.free_memory", lambda: None)

    def hold(self, place: int | str) -> Hold:
        hold = self.at[place] = Hold()
        return hold

    def fail(self, place: int | str, error: BaseException) -> None:
        def failing() -> None:
            del self.at[place]
            raise error

        self.at[place] = failing

    def erase(self, task: Task) -> Generator[Event, None, None]:
        check_output(task.out, overwrite=False)
        task.folder.create({"checkpoint": str(task.checkpoint), "out": str(task.out)}, task.config)
        yield from self._logged(task.folder, self._work(task, 0))

    def resume(self, folder: RunFolder, *, device: str, out: Path) -> Generator[Event, None, None]:
        about, config = folder.read()
        check_output(out, overwrite=False)
        step = load_state(folder.state)[1]["step"] if folder.state.exists() else 0
        yield from self._logged(folder, self._work(Task(Path(about["checkpoint"]), out, folder, config, device), step))

    def _logged(self, folder: RunFolder, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        with closing(events):
            for event in events:
                try:
                    if not isinstance(event, (Opened, Drawing)):
                        folder.log(event)
                    yield event
                except GeneratorExit:
                    raise
                except BaseException as error:
                    events.throw(error)

    def _work(self, task: Task, step: int) -> Generator[Event, None, None]:
        self.started_at.append(step)
        self._reach("open")
        trainer = SimpleNamespace(config=task.config, step=step, tensors=lambda: {"w": torch.zeros(1)})
        trainer.meta = lambda: {"step": trainer.step}
        session = SimpleNamespace(
            model=SimpleNamespace(unet=torch.nn.Linear(2, 2), pixels=64), trainer=trainer, move=self.moves.append
        )
        yield Opened(session)  # type: ignore[arg-type]
        yield Planned({"updates": task.config.updates})
        for share in (0.25, 0.5, 1.0):
            self._reach(f"drawn {share}")
            yield Drawing(share)
        folder, steps = task.folder, task.config.updates
        try:
            while trainer.step < steps:
                self._reach(trainer.step + 1)
                trainer.step += 1
                words = ("bus", "dog")[trainer.step % 2 :]
                yield Step(trainer.step, steps, 1.0, 0.5, ("church",), words[:1], 1e-4, trainer.step * 8, trainer.step)
        except GeneratorExit:
            self._save(folder, trainer)
            if trainer.step:
                Image.new("RGB", (16, 16), "red").save(folder.preview(trainer.step))
                out = stopped_name(task.out, trainer.step)
                out.write_bytes(b"lora")
                folder.log(Saved(trainer.step, out))
            raise
        except (EraseError, OSError, MemoryError, RuntimeError):
            self._save(folder, trainer)
            raise
        self._save(folder, trainer)
        Image.new("RGB", (16, 16), "red").save(folder.preview(steps))
        yield Preview(steps, folder.preview(steps))
        folder.lora.write_bytes(b"lora")
        self._reach("finish")
        task.out.write_bytes(b"lora")
        yield Saved(steps, task.out, final=True, change=12.0)

    def _save(self, folder: RunFolder, trainer: Any) -> None:
        save_state(folder.state, trainer.tensors(), trainer.meta())

    def _reach(self, place: int | str) -> None:
        if place in self.at:
            self.at[place]()
