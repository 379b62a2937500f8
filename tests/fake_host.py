"""A host for tests: a lock, a folder, and a memory of what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from erasure.errors import RunError
from erasure.host.always_on import AlwaysOn, Rule
from erasure.host.base import HostCheckpoint, TextToImage
from erasure.model.opening import AS_DRAWN, Opening


class FakeHost:
    """A host without a program. ``at_report`` is called with the step at every report, in the worker's thread;
    ``enter_fails`` and ``exit_fails`` are raised when the device is taken and released."""

    name = "fake"

    def __init__(self, root: Path, checkpoint: Path):
        self.root = root
        self.checkpoint = checkpoint
        self.calls: list[str] = []
        self.reports: list[tuple[int, int, str]] = []
        self.pictures = 0
        self.lock = threading.Lock()
        self.at_report: Callable[[int], None] = lambda step: None
        self.interrupt = False
        self.on = "cpu"
        self.opens = AS_DRAWN
        self.kept_on = AlwaysOn()
        self.lets_upload = False
        self.enter_fails: BaseException | None = None
        self.exit_fails: BaseException | None = None

    def checkpoints(self) -> list[HostCheckpoint]:
        return [HostCheckpoint(self.checkpoint.name, self.checkpoint)]

    def current_checkpoint(self) -> HostCheckpoint | None:
        return self.checkpoints()[0]

    def opening(self, checkpoint: Path) -> Opening:
        return self.opens

    def folder_for_new(self, base: Path) -> Path:
        return base.parent

    def look_for_checkpoints(self) -> None:
        self.calls.append("look")

    def lora_folder(self) -> Path:
        return self.root / "loras"

    def data_folder(self) -> Path:
        return self.root / "data"

    def device(self) -> str:
        return self.on

    @contextmanager
    def exclusive(self, title: str) -> Iterator[None]:
        with self.lock:
            if self.enter_fails is not None:
                raise self.enter_fails
            self.interrupt = False
            self.calls.append("enter")
            try:
                yield
            finally:
                self.calls.append("leave")
                if self.exit_fails is not None:
                    raise self.exit_fails

    def show_progress(self, step: int, steps: int, text: str, picture: Image.Image | None = None) -> None:
        assert self.lock.locked()
        self.reports.append((step, steps, text))
        self.pictures += picture is not None
        self.at_report(step)

    def interrupted(self) -> bool:
        return self.interrupt

    def always_on(self) -> AlwaysOn:
        return self.kept_on

    def set_always_on(self, rules: Sequence[Rule]) -> None:
        if self.kept_on.fixed:
            raise RunError(self.kept_on.fixed)
        self.kept_on = AlwaysOn(tuple(rules))

    def uploads(self) -> bool:
        return self.lets_upload

    def draw(self, request: TextToImage) -> Image.Image:
        with self.lock:
            self.calls.append("draw")
            return Image.new("RGB", (8, 8))
