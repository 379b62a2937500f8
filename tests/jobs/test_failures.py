from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from erasure.errors import OutOfMemory, RunError
from erasure.jobs.manager import JobManager
from erasure.run.events import Event
from erasure.run.folder import RunFolder
from erasure.training.events import Step
from tests.fake_host import FakeHost
from tests.jobs.asked import ends, request
from tests.jobs.scripted_run import PATIENCE, ScriptedRun


@pytest.mark.parametrize(
    ("place", "error", "told"),
    [
        ("open", OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (3, MemoryError(), "not enough memory"),
        ("open", RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (3, OutOfMemory("use gradient_checkpointing"), "use gradient_checkpointing"),
        ("finish", ZeroDivisionError("oh"), "something unexpected happened: ZeroDivisionError: oh"),
        (3, SystemExit(3), "SystemExit"),
    ],
)
def test_whatever_a_run_raises_is_told_and_the_next_job_runs(
    host: FakeHost, manager: JobManager, run: ScriptedRun, place: int | str, error: BaseException, told: str
) -> None:
    run.fail(place, error)
    id = manager.submit(request(host))
    failed = manager.wait(id, timeout=PATIENCE)
    assert failed.state == "failed"
    assert told in failed.problem
    assert "\n" not in failed.problem
    assert failed.actions == ("resume", "delete")
    assert host.calls == ["enter", "leave"]
    ends(manager, manager.submit(request(host, "next")))
    manager.resume(id)
    ends(manager, id)
    assert not host.lock.locked()


def test_the_traceback_of_the_unexpected_is_kept(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    run.fail(2, ZeroDivisionError("oh"))
    id = manager.submit(request(host))
    manager.wait(id, timeout=PATIENCE)
    record = json.loads((host.data_folder() / "runs" / id / "job.json").read_text())
    assert "scripted_run.py" in record["log"]
    assert record["state"] == "failed"


def test_a_host_that_does_not_give_the_device_fails_that_job_only(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    host.enter_fails = RuntimeError("no model is loaded")
    failed = manager.wait(manager.submit(request(host)), timeout=PATIENCE)
    assert (failed.state, failed.step) == ("failed", 0)
    assert "no model is loaded" in failed.problem
    host.enter_fails = None
    ends(manager, manager.submit(request(host, "next")))
    manager.resume(failed.id)
    ends(manager, failed.id)


def test_a_host_whose_model_does_not_come_back_leaves_a_note_on_a_job_that_is_done(
    host: FakeHost, manager: JobManager
) -> None:
    host.exit_fails = RuntimeError("the host's model is gone")
    id = manager.submit(request(host))
    ends(manager, id)
    assert "the host's model is gone" in manager.snapshot(id).notes[-1]


def test_progress_that_cannot_be_shown_ends_nothing(host: FakeHost, manager: JobManager) -> None:
    def broken(step: int) -> None:
        raise OSError("no page")

    host.at_report = broken
    ends(manager, manager.submit(request(host)))


def test_a_lora_that_cannot_be_placed_stays_in_the_run_folder(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    run.fail("finish", RunError("gone.safetensors could not be written; the LoRA is safe at lora.safetensors"))
    id = manager.submit(request(host))
    failed = manager.wait(id, timeout=PATIENCE)
    assert "is safe at" in failed.problem
    assert manager.lora_path(id) == host.data_folder() / "runs" / id / "lora.safetensors"
    manager.resume(id)
    ends(manager, id)
    assert manager.lora_path(id) == host.lora_folder() / "gone.safetensors"


def test_a_name_taken_while_the_job_waited_is_not_overwritten(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    hold = run.hold(3)
    id = manager.submit(request(host))
    hold.reached()
    manager.stop(id)
    hold.release()
    ends(manager, id, "stopped")
    run.at.clear()
    (host.lora_folder() / "sub").mkdir()
    (host.lora_folder() / "sub" / "gone.safetensors").write_bytes(b"another")
    manager.resume(id)
    ends(manager, id)
    assert manager.lora_path(id).name == "gone-2.safetensors"
    assert "gone-2" in manager.snapshot(id).notes[-1]


def test_a_checkpoint_deleted_while_the_job_waited_is_named(
    host: FakeHost, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    host.checkpoint = tmp_path / "own.safetensors"
    shutil.copy(tiny_checkpoint, host.checkpoint)
    manager = JobManager(host, start=False)
    id = manager.submit(request(host))
    host.checkpoint.unlink()
    manager.start()
    failed = manager.wait(id, timeout=PATIENCE)
    assert failed.state == "failed"
    assert "There is no checkpoint at" in failed.problem
    assert "own.safetensors" in failed.problem
    assert not host.lock.locked()
    manager.close()


def test_a_log_that_cannot_be_written_ends_the_run_with_its_state_saved(
    host: FakeHost, manager: JobManager, run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunFolder.log

    def full(folder: RunFolder, event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            raise RunError("the log cannot be written: the disk is full; free some space")
        log(folder, event)

    monkeypatch.setattr(RunFolder, "log", full)
    id = manager.submit(request(host))
    failed = manager.wait(id, timeout=PATIENCE)
    assert (failed.state, failed.problem) == (
        "failed",
        "the log cannot be written: the disk is full; free some space",
    )
    assert not list(host.lora_folder().glob("gone*"))
    monkeypatch.setattr(RunFolder, "log", log)
    manager.resume(id)
    ends(manager, id)
    assert run.started_at == [0, 3]


def test_a_pause_without_room_for_the_state_is_a_pause_with_a_note(
    host: FakeHost, manager: JobManager, run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise RunError("the state could not be written; free some space and resume")

    with monkeypatch.context() as patched:
        patched.setattr("erasure.run.run.save_state", full)
        hold = run.hold(2)
        id = manager.submit(request(host))
        hold.reached()
        manager.pause(id)
        hold.release()
        paused = manager.wait(id, ["paused"], PATIENCE)
    assert "free some space" in paused.notes[-1]
    run.at.clear()
    manager.resume(id)
    ends(manager, id)


def test_a_card_that_cannot_be_written_is_a_note(
    host: FakeHost, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("erasure.jobs.ending.write_card", full)
    id = manager.submit(request(host))
    ends(manager, id)
    assert "the card beside the LoRA could not be written: the disk is full" in manager.snapshot(id).notes[-1]


def test_a_library_that_cannot_be_loaded_fails_the_job_with_what_to_do(
    host: FakeHost, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "erasure.run.beginning", None)
    failed = manager.wait(manager.submit(request(host)), timeout=PATIENCE)
    assert failed.state == "failed"
    assert "a library is missing or does not fit" in failed.problem


def test_jobs_can_be_looked_at_without_torch() -> None:
    code = (
        "import sys, erasure.jobs.manager, erasure.jobs.estimate, erasure.run.card;"
        "assert not {'torch', 'diffusers', 'transformers', 'gradio'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
