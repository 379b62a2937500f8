from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from erasure.config import EraseConfig, config_from_dict
from erasure.host.base import HostCheckpoint, TextToImage
from erasure.jobs.job import JobRequest
from erasure.jobs.manager import JobManager

WORDS = "truck\nbus\nhouse\ntower\nbell\ndog\n"
SOON = 60.0  # seconds; only a broken manager needs them all


class FakeHost:
    """A host with a lock and a folder; it remembers what was asked of it."""

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
        self.enter_fails: BaseException | None = None
        self.exit_fails: BaseException | None = None

    def checkpoints(self) -> list[HostCheckpoint]:
        return [HostCheckpoint(self.checkpoint.name, self.checkpoint)]

    def current_checkpoint(self) -> HostCheckpoint | None:
        return self.checkpoints()[0]

    def lora_folder(self) -> Path:
        return self.root / "loras"

    def data_folder(self) -> Path:
        return self.root / "data"

    def device(self) -> str:
        return "cpu"

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

    def report(self, step: int, steps: int, text: str, picture: Image.Image | None = None) -> None:
        assert self.lock.locked()
        self.reports.append((step, steps, text))
        self.pictures += picture is not None
        self.at_report(step)

    def interrupted(self) -> bool:
        return self.interrupt

    def draw(self, request: TextToImage) -> Image.Image:
        with self.lock:
            self.calls.append("draw")
            return Image.new("RGB", (8, 8))


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    return FakeHost(tmp_path, tiny_checkpoint)


@pytest.fixture
def manager(host: FakeHost) -> Iterator[JobManager]:
    made = JobManager(host)
    yield made
    made.close()


def _config(folder: Path, **changes: object) -> EraseConfig:
    """Quick, and it changes the picture of a random model."""
    words = folder / "words.txt"
    words.write_text(WORDS)
    quick = {"steps": 4, "learning_rate": 0.02, "clip": 0, "sampling_steps": 3, "layers": "full", "warmup": 0}
    space = {"vocabulary": "file", "vocabulary_file": str(words), "synonym_threshold": 0, "synonym_states": 1}
    return config_from_dict({"erase": ["church"], **quick, **space, **changes})


def _request(host: FakeHost, name: str = "gone", **changes: object) -> JobRequest:
    return JobRequest(host.checkpoint, name, _config(host.root, **changes))


def test_a_job_ends_with_a_lora_in_the_hosts_folder(host: FakeHost, manager: JobManager) -> None:
    done = manager.wait(manager.submit(_request(host)), timeout=SOON)
    assert (done.state, done.problem) == ("done", "")
    assert done.result is not None
    assert Path(done.result.path) == host.lora_folder() / "gone.safetensors"
    assert manager.lora_path(done.id).stat().st_size == done.result.size
    assert (done.step, done.steps, len(done.losses)) == (4, 4, 4)
    assert sum(count for _, count in done.picks) == 4
    assert host.calls == ["enter", "leave"]
    assert not host.lock.locked()
    assert [step for step, _, _ in host.reports][-1] == 4
