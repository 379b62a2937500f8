"""Baking beside the queue: who gets the device, how it ends, where the checkpoint goes, and that nothing is left of it
if it does not end well."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from erasure.bake.baking import bake
from erasure.bake.task import BakeTask
from erasure.errors import ConfigError, JobConflict, LoraFileError, OutputExists
from erasure.jobs.baking import BakeRequest, BakeSnapshot
from erasure.jobs.manager import JobManager
from tests.fake_host import FakeHost
from tests.jobs.asked import request
from tests.jobs.scripted_run import PATIENCE, Hold, ScriptedRun
from tests.loras import random_lora


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    """A host with a model folder of its own."""
    models = tmp_path / "models"
    shutil.copytree(tiny_checkpoint.parent, models)
    return FakeHost(tmp_path, models / tiny_checkpoint.name)


@pytest.fixture
def wanted(host: FakeHost) -> BakeRequest:
    file = random_lora(host.lora_folder() / "mine.safetensors", strength=0.1)
    return BakeRequest(host.checkpoint, [(file, 0.5)], "new")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Holds the bake after its first block."""
    hold = Hold()

    def slow(task: BakeTask) -> Generator[float, None, Any]:
        writing = bake(task)
        yield next(writing)
        hold()
        return (yield from writing)

    monkeypatch.setattr("erasure.bake.baking.bake", slow)
    return hold


def ended(manager: JobManager) -> BakeSnapshot:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shown = manager.bake_snapshot()
        if shown is not None and shown.state != "baking":
            return shown
        time.sleep(0.005)
    raise AssertionError(f"still at it: {manager.bake_snapshot()}")


def models(host: FakeHost) -> set[str]:
    return {path.name for path in host.checkpoint.parent.iterdir()}


def test_the_new_checkpoint_lies_beside_its_base_and_the_host_is_told(
    host: FakeHost, manager: JobManager, wanted: BakeRequest
) -> None:
    before = models(host)
    begun = manager.bake(wanted)
    assert (begun.state, begun.name, begun.loras) == ("baking", "new.safetensors", (("mine.safetensors", 0.5),))
    done = ended(manager)
    assert (done.state, done.share, done.layers, done.problem) == ("done", 1.0, 20, "")
    assert done.lines[0].startswith("20 layers changed")
    assert models(host) - before == {"new.safetensors", "new.yaml"}
    assert host.calls == ["enter", "look", "leave"]
    steps = [step for step, _, _ in host.reports]
    assert steps == sorted(set(steps))
    with pytest.raises(OutputExists):
        manager.bake(wanted)
    assert manager.bake_snapshot() == done


def test_a_bake_can_be_cancelled_and_nothing_of_it_is_left(
    host: FakeHost, manager: JobManager, held: Hold, wanted: BakeRequest
) -> None:
    before = models(host)
    with pytest.raises(JobConflict, match="nothing is being baked"):
        manager.cancel_bake()
    manager.bake(wanted)
    held.reached()
    assert len(models(host)) > len(before)
    with pytest.raises(JobConflict, match="a checkpoint is being baked"):
        manager.bake(wanted)
    manager.cancel_bake()
    held.release()
    assert ended(manager).state == "cancelled"
    assert models(host) == before
    assert host.calls == ["enter", "leave"]


def test_interrupt_in_the_host_cancels_it(host: FakeHost, manager: JobManager, held: Hold, wanted: BakeRequest) -> None:
    manager.bake(wanted)
    held.reached()
    host.interrupt = True
    held.release()
    assert ended(manager).state == "cancelled"


def test_nothing_is_baked_while_a_job_has_the_device(
    host: FakeHost, manager: JobManager, run: ScriptedRun, wanted: BakeRequest
) -> None:
    hold = run.hold(2)
    id = manager.submit(request(host))
    hold.reached()
    with pytest.raises(JobConflict, match="is using the device"):
        manager.bake(wanted)
    hold.release()
    manager.wait(id, timeout=PATIENCE)


def test_a_failure_is_told_and_leaves_nothing(
    host: FakeHost, manager: JobManager, wanted: BakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = models(host)
    with monkeypatch.context() as patch:
        patch.setattr("erasure.bake.rewrite._write", full)
        manager.bake(wanted)
        failed = ended(manager)
    assert failed.state == "failed"
    assert "No space left on device" in failed.problem
    assert models(host) == before
    manager.bake(wanted)
    assert ended(manager).state == "done"


def test_a_host_that_cannot_look_again_does_not_spoil_the_bake(
    host: FakeHost, manager: JobManager, wanted: BakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise RuntimeError("no list")

    monkeypatch.setattr(host, "look_for_checkpoints", fails)
    manager.bake(wanted)
    assert ended(manager).state == "done"


@pytest.mark.parametrize("name", ["../new", "", "con", "a/b", "a\0b", ".hidden"])
def test_a_name_leads_nowhere_else(host: FakeHost, manager: JobManager, wanted: BakeRequest, name: str) -> None:
    with pytest.raises(ConfigError, match="the checkpoint cannot be called"):
        manager.bake(BakeRequest(wanted.checkpoint, wanted.loras, name))
    assert manager.bake_snapshot() is None


def test_what_does_not_fit_is_refused_at_once(host: FakeHost, manager: JobManager, wanted: BakeRequest) -> None:
    with pytest.raises(LoraFileError, match="a full checkpoint, no LoRA"):
        manager.bake(BakeRequest(wanted.checkpoint, [(host.checkpoint.with_suffix(".safetensors"), 1.0)], "new"))
    manager.bake(wanted)
    assert ended(manager).state == "done"
