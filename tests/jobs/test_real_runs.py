"""Jobs with real training of a tiny model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict
from erasure.errors import JobConflict, TrainingError
from erasure.jobs.job import JobRequest
from erasure.jobs.manager import JobManager
from erasure.run.beginning import erase
from erasure.run.folder import RunFolder
from erasure.run.task import Task
from erasure.training.events import Step
from tests.fake_host import FakeHost
from tests.jobs.asked import ends

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.slow]

LONG = 300.0  # seconds; the machine may have a lot to do


def _config(folder: Path, **changes: Any) -> EraseConfig:
    """A few updates that change the picture of a random model."""
    words = folder / "words.txt"
    words.write_text("truck\nbus\nhouse\ntower\nbell\ndog\n")
    quick = {"steps": 3, "learning_rate": 0.02, "clip": 0, "sampling_steps": 2, "warmup": 0}
    space = {"vocabulary": "file", "vocabulary_file": str(words), "synonym_threshold": 0, "synonym_states": 1}
    return config_from_dict({"erase": ["church"], **quick, **space, "search_steps": 1, **changes})


@pytest.fixture
def manager(host: FakeHost) -> Iterator[JobManager]:
    made = JobManager(host)
    yield made
    made.close()


def test_pausing_changes_no_weight_and_the_checkpoint_may_go_in_mid_run(
    host: FakeHost, manager: JobManager, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for path in tiny_checkpoint.parent.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    host.checkpoint = tmp_path / tiny_checkpoint.name
    config = _config(tmp_path)
    straight = manager.submit(JobRequest(host.checkpoint, "straight", config))
    assert manager.wait(straight, timeout=LONG).state == "done"
    paused: list[str] = []

    def pause_once(step: int) -> None:
        if step == 1 and not paused:
            paused.append(manager.snapshots()[0].id)
            manager.pause(paused[0])

    host.at_report = pause_once
    id = manager.submit(JobRequest(host.checkpoint, "gone", config))
    manager.wait(id, ["paused"], LONG)
    host.checkpoint.unlink()
    host.calls.clear()
    assert not host.lock.locked()
    manager.resume(id)
    done = manager.wait(id, timeout=LONG)
    assert (done.state, done.problem) == ("done", "")
    assert done.result is not None
    assert done.result.change is not None
    assert done.result.change > 1
    assert host.calls == ["enter", "leave"]
    one, other = load_file(manager.lora_path(straight)), load_file(manager.lora_path(id))
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)
    with Image.open(host.lora_folder() / "gone.png") as card:
        assert manager.preview(id, 3).sheet().width >= card.width
    assert done.plan is not None
    assert [len(done.series[name]) for name in ("erase", "preserve")] == [3, 3]


def test_a_lora_folder_that_goes_in_mid_run_costs_no_lora(host: FakeHost, manager: JobManager, tmp_path: Path) -> None:
    def replace_folder(step: int) -> None:
        if step == 2 and host.lora_folder().is_dir():
            shutil.rmtree(host.lora_folder())
            host.lora_folder().write_text("in the way")

    host.at_report = replace_folder
    id = manager.submit(JobRequest(host.checkpoint, "gone", _config(tmp_path, steps=2)))
    failed = manager.wait(id, timeout=LONG)
    assert failed.state == "failed"
    assert "the LoRA is safe at" in failed.problem
    assert load_file(manager.lora_path(id))
    assert not host.lock.locked()
    host.lora_folder().unlink()
    host.at_report = lambda step: None
    manager.resume(id)
    done = manager.wait(id, timeout=LONG)
    assert (done.state, done.problem) == ("done", "")
    assert (host.lora_folder() / "gone.safetensors").exists()


def test_concepts_are_measured_once_and_not_while_a_job_has_the_device(
    host: FakeHost, manager: JobManager, tmp_path: Path
) -> None:
    config = _config(tmp_path)
    space = manager.concepts(host.checkpoint, config)
    assert space["targets"][0]["target"] == "church"
    assert len(space["targets"][0]["preserved"]) == 6
    assert host.calls == ["enter", "leave"]
    refused: list[str] = []

    def ask(step: int) -> None:
        assert manager.concepts(host.checkpoint, with_changes(config, rank=2, steps=9)) == space
        with pytest.raises(JobConflict, match="gone is using the device"):
            manager.concepts(host.checkpoint, with_changes(config, erase=("chapel",)))
        refused.append("")

    host.at_report = ask
    id = manager.submit(JobRequest(host.checkpoint, "gone", with_changes(config, steps=1)))
    manager.wait(id, timeout=LONG)
    ends(manager, id)
    assert refused
    assert host.calls == ["enter", "leave"] * 2
    host.at_report = lambda step: None  # a search reports, too
    words = Path(config.vocabulary_file)
    words.write_text(words.read_text() + "castle\n")
    assert len(manager.concepts(host.checkpoint, config)["targets"][0]["preserved"]) == 7


@pytest.mark.parametrize("kept", [True, False])
def test_what_ends_a_run_decides_whether_a_state_is_saved(host: FakeHost, tmp_path: Path, kept: bool) -> None:
    out = tmp_path / "gone.safetensors"
    run = erase(Task(host.checkpoint, out, RunFolder(tmp_path / "run"), _config(tmp_path)))
    next(event for event in run if isinstance(event, Step))
    if kept:
        with pytest.raises(TrainingError), run:
            raise TrainingError("enough")
    else:
        run.give_up()
    assert run.folder.state.exists() is kept
    assert not list(tmp_path.glob("*.safetensors"))
