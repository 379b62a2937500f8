"""A run without a model: all of ``erasure.run`` is real, but what it opens trains, draws and writes by script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.families.family import PredictionType
from erasure.lora.parent import Parent
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.rows import Purpose, RowBook
from erasure.model.stage import Stage
from erasure.run.events import Opened
from erasure.run.tuned_model import TunedModel
from erasure.training.events import Look, Step
from erasure.training.plan import Plan
from erasure.verdict.verdict import Verdict
from tests.spaces import space_of

PATIENCE = 30.0  # seconds; only a broken manager needs them all
CHANGE = 12.0  # levels by which the scripted LoRA changes a picture


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
        self.started_at: list[int] = []  # the step each training began after
        self.verdict: Callable[[int | None], Verdict] | None = None  # by the number of updates; None: nothing judges
        monkeypatch.setattr("erasure.run.run.open_tuned_model", self.open)
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

    def open(
        self,
        checkpoint: CheckpointInfo,
        config: EraseConfig,
        device: str,
        space: ConceptSpace | None = None,
        album: Path | None = None,
        parents: Sequence[Parent] = (),
    ) -> Generator[Stage, None, TunedModel]:
        yield Stage("loads the checkpoint")
        self.reach("open")
        return ScriptedModel(self, checkpoint, config, device)

    def reach(self, place: int | str) -> None:
        if place in self.at:
            self.at[place]()


class ScriptedTraining:
    """Updates that change nothing, and a state of one number."""

    def __init__(self, run: ScriptedRun, config: EraseConfig):
        self.config = config
        self.step = 0
        self._run = run

    def __iter__(self) -> Iterator[Step]:
        self._run.started_at.append(self.step)
        while self.step < self.config.updates:
            self._run.reach(self.step + 1)
            self.step += 1
            words = ("bus", "dog")[self.step % 2 :]
            yield Step(self.step, self.config.updates, 1.0, 0.5, ("church",), words[:1], 1e-4, self.step * 8, self.step)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"w": torch.zeros(1)}

    def meta(self) -> dict[str, Any]:
        return {"step": self.step, "rows": self.step * 8}

    def load(self, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
        self.step = meta["step"]

    def move(self, device: torch.device | str) -> None:
        """There is nothing to move."""


class ScriptedExamination:
    """Judges by script."""

    def __init__(self, verdict: Callable[[int | None], Verdict]):
        self._verdict = verdict

    pictures = 4

    def before(self) -> Generator[float, None, None]:
        yield 1.0

    def after(self, step: int | None = None) -> Generator[float, None, Verdict]:
        yield 1.0
        return self._verdict(step)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"own": torch.zeros(1)}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """There is nothing to load."""


class ScriptedModel:
    """A :class:`erasure.run.tuned_model.TunedModel` by script: mypy says so when a member is missing or differs."""

    def __init__(self, run: ScriptedRun, checkpoint: CheckpointInfo, config: EraseConfig, device: str):
        self.family = checkpoint.family
        self.prediction_type: PredictionType = checkpoint.prediction_type or "epsilon"
        self.space = space_of(*config.erase)
        self.plan = Plan(1, 6, config.rank, config.updates, 8.0, 0, self.space)
        self.training = ScriptedTraining(run, config)
        self.pixels = 16
        self.rows = RowBook()
        self.notes = checkpoint.notes
        self.examination = None if run.verdict is None else ScriptedExamination(run.verdict)
        self._run = run
        self._config = config
        self._device = device

    def facts(self) -> Opened:
        return Opened(self._device, 6, self.pixels, "fp32")

    def steer(self) -> Look | None:
        """There are no looks but that at what is judged before."""
        return None if self.examination is None else Look(0, dict.fromkeys(self._config.erase, (2, 2)), 1.0)

    def move(self, device: str) -> None:
        self._run.moves.append(device)

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], *, frozen: bool = False, purpose: Purpose = "pictures"
    ) -> Generator[float, None, list[Image.Image]]:
        for share in (0.25, 0.5, 1.0):
            if frozen:
                self._run.reach(f"drawn {share}")
            yield share
        return [Image.new("RGB", (16, 16), "black" if frozen else (int(CHANGE),) * 3) for _ in prompts]

    def write_lora(self, path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"lora")

    def put_on(self, path: Path) -> None:
        self._run.reach("finish")
