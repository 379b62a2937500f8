from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, JobConflict, JobNotFound
from erasure.host.base import TextToImage
from erasure.jobs.job import JobRequest, JobState
from erasure.jobs.manager import JobManager
from erasure.jobs.record import Record, write_record
from erasure.model.checkpoint import sha256, short_hash
from erasure.model.stage import Stage
from erasure.run.folder import Origin, RunFolder
from erasure.run.state import save_state
from tests.fake_host import FakeHost
from tests.jobs.asked import ends, request
from tests.jobs.scripted_run import PATIENCE, ScriptedRun

# --- the way through


def test_a_job_ends_with_a_lora_and_its_card_in_the_hosts_folder(host: FakeHost, manager: JobManager) -> None:
    done = manager.wait(manager.submit(request(host)), timeout=PATIENCE)
    assert (done.state, done.problem, done.message) == ("done", "", "done: gone is in the Lora folder")
    assert done.result is not None
    assert (done.result.name, done.result.size, done.result.change) == ("gone", 4, 12.0)
    assert manager.lora_path(done.id) == host.lora_folder() / "gone.safetensors"
    assert (done.step, done.steps, done.rows, done.seconds_left) == (4, 4, 32, None)
    assert [[step for step, _ in done.series[name]] for name in ("erase", "preserve")] == [[1, 2, 3, 4]] * 2
    assert dict(done.picks) == {"bus": 2, "dog": 2}
    assert done.current_pick == "bus"
    assert done.previews == (4,)
    assert manager.preview(done.id, 4).png()
    assert sorted(path.name for path in host.lora_folder().iterdir()) == ["gone.json", "gone.png", "gone.safetensors"]
    assert host.calls == ["enter", "leave"]
    assert host.reports[-1][0] == 4
    assert host.pictures == 1


def test_jobs_wait_for_each_other_and_say_so(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    hold = run.hold(2)
    first, second, third = (manager.submit(request(host, name)) for name in ("one", "two", "three"))
    hold.reached()
    assert [job.id for job in manager.snapshots()] == [third, second, first]
    assert [manager.snapshot(id).state for id in (first, second, third)] == ["running", "queued", "queued"]
    assert manager.snapshot(second).message == "waits for one"
    assert manager.snapshot(third).message == "waits for two"
    hold.release()
    for id in (first, second, third):
        ends(manager, id)
    assert host.calls == ["enter", "leave"] * 3


def test_all_problems_are_told_before_anything_is_queued(host: FakeHost, manager: JobManager, tmp_path: Path) -> None:
    host.lora_folder().mkdir()
    (host.lora_folder() / "gone.safetensors").touch()
    missing = tmp_path / "none.safetensors"
    config = config_from_dict({"erase": ["x"], "vocabulary": "file", "vocabulary_file": str(tmp_path / "no.txt")})
    with pytest.raises(ConfigError) as refused:
        manager.submit(JobRequest(missing, "gone", config))
    told = "\n".join(refused.value.problems)
    assert len(refused.value.problems) == 3
    for part in ("no.txt", "none.safetensors", "'gone' already"):
        assert part in told
    assert manager.snapshots() == []
    assert not list((host.data_folder() / "runs").glob("*"))


def test_two_jobs_on_their_way_cannot_have_one_name(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    hold = run.hold(1)
    id = manager.submit(request(host))
    with pytest.raises(ConfigError, match="another job is making the LoRA"):
        manager.submit(request(host, "Gone"))
    hold.release()
    ends(manager, id)


# --- pause


def test_a_paused_job_gives_the_device_back_and_goes_on(
    host: FakeHost, manager: JobManager, run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.on = "cuda:0"
    for place in ("erasure.jobs.readiness.absent", "erasure.model.device.device_problem"):
        monkeypatch.setattr(place, lambda name: "")
    hold = run.hold(2)
    id, later = manager.submit(request(host)), manager.submit(request(host, "later"))
    hold.reached()
    manager.pause(id)
    assert manager.snapshot(id).state == "pausing"
    hold.release()
    paused = manager.wait(id, ["paused"], PATIENCE)
    assert (paused.step, paused.actions) == (2, ("resume", "stop", "discard"))
    assert run.moves == ["cpu"]
    assert manager.snapshot(later).message == "waits for gone, which is paused"
    host.draw(TextToImage("a dog"))
    del run.at[2]
    manager.resume(id)
    ends(manager, id)
    assert run.moves == ["cpu", "cuda:0"]
    assert run.started_at[0] == 0
    assert host.calls[:5] == ["enter", "leave", "draw", "enter", "leave"]
    ends(manager, later)


@pytest.mark.parametrize("lost", ["process", "device"])
def test_what_is_lost_during_a_pause_costs_no_update(
    host: FakeHost, manager: JobManager, run: ScriptedRun, lost: str
) -> None:
    hold = run.hold(3)
    id = manager.submit(request(host))
    hold.reached()
    manager.pause(id)
    hold.release()
    manager.wait(id, ["paused"], PATIENCE)
    after = manager
    if lost == "process":
        manager._table.jobs[id].claim.free()  # as the operating system does
        after = JobManager(host)
        assert after.snapshot(id).state == "interrupted"
    else:
        host.enter_fails = RuntimeError("CUDA out of memory")
        manager.resume(id)
        failed = manager.wait(id, timeout=PATIENCE)
        assert failed.state == "failed"
        assert "not enough memory" in failed.problem
        host.enter_fails = None
    del run.at[3]
    after.resume(id)
    ends(after, id)
    assert run.started_at == [0, 3]
    if after is not manager:
        after.close()


# --- stop


def _stop_by_user(host: FakeHost, manager: JobManager, id: str) -> None:
    manager.stop(id)
    assert manager.snapshot(id).actions == ()


def _stop_by_interrupt(host: FakeHost, manager: JobManager, id: str) -> None:
    host.interrupt = True


@pytest.mark.parametrize("stop", [_stop_by_user, _stop_by_interrupt])
def test_a_stopped_job_keeps_what_there_is_and_can_go_on(
    host: FakeHost, manager: JobManager, run: ScriptedRun, stop: Callable[[FakeHost, JobManager, str], None]
) -> None:
    hold = run.hold(3)
    id = manager.submit(request(host))
    hold.reached()
    stop(host, manager, id)
    hold.release()
    stopped = manager.wait(id, timeout=PATIENCE)
    assert (stopped.state, stopped.step, stopped.problem) == ("stopped", 3, "")
    assert stopped.result is not None
    assert Path(stopped.result.path) == host.lora_folder() / "gone-step3.safetensors"
    assert "in 3 updates of at most 4" in json.loads((host.lora_folder() / "gone-step3.json").read_text())["notes"]
    assert (host.lora_folder() / "gone-step3.png").exists()
    assert not host.lock.locked()
    del run.at[3]
    manager.resume(id)
    ends(manager, id)
    assert run.started_at == [0, 3]
    assert [step for step, _ in manager.snapshot(id).series["erase"]] == [1, 2, 3, 4]
    assert manager.lora_path(id).name == "gone.safetensors"


def test_a_paused_job_can_be_stopped(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    hold = run.hold(2)
    id = manager.submit(request(host))
    hold.reached()
    manager.pause(id)
    hold.release()
    manager.wait(id, ["paused"], PATIENCE)
    manager.stop(id)
    manager.stop(id)
    ends(manager, id, "stopped")
    assert host.calls == ["enter", "leave"] * 2


# --- discard and delete


def _to(manager: JobManager, run: ScriptedRun, host: FakeHost, state: JobState) -> tuple[str, Callable[[], None]]:
    """A job in that state, and what lets it go on."""
    if state == "queued":
        hold = run.hold(1)
        manager.submit(request(host, "ahead"))
        hold.reached()
        return manager.submit(request(host)), hold.release
    hold = run.hold("open" if state == "preparing" else 2)
    id = manager.submit(request(host))
    hold.reached()
    if state in ("pausing", "paused"):
        manager.pause(id)
    if state == "paused":
        hold.release()
    manager.wait(id, [state], PATIENCE)
    return id, hold.release


@pytest.mark.parametrize("state", ["queued", "preparing", "running", "pausing", "paused"])
def test_an_active_job_can_be_discarded(host: FakeHost, manager: JobManager, run: ScriptedRun, state: JobState) -> None:
    id, go_on = _to(manager, run, host, state)
    manager.discard(id)
    with pytest.raises(JobNotFound):
        manager.snapshot(id)
    assert id not in [job.id for job in manager.snapshots()]
    go_on()
    run.at.clear()
    ends(manager, manager.submit(request(host, "next")))
    assert not (host.data_folder() / "runs" / id).exists()
    assert not list(host.lora_folder().glob("gone*"))
    assert not host.lock.locked()


def test_the_pictures_before_are_there_before_the_first_update(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    hold = run.hold(1)
    id = manager.submit(request(host))
    hold.reached()
    shown = manager.snapshot(id)
    assert (shown.state, shown.step, shown.previews, shown.drew_before) == ("preparing", 0, (), True)
    assert [row.after for row in manager.preview(id, None).rows()] == [()] * 4
    assert manager.preview(id, None).sheet().width > 0
    hold.release()
    ends(manager, id)
    assert JobManager(host, start=False).snapshot(id).drew_before


@pytest.mark.parametrize("wish", ["discard", "interrupt"])
def test_a_run_ends_between_two_steps_of_drawing_the_pictures_before(
    host: FakeHost, manager: JobManager, run: ScriptedRun, wish: str
) -> None:
    hold = run.hold("drawn 0.5")
    more: list[str] = []
    run.at["drawn 1.0"] = lambda: more.append("drawn")
    id = manager.submit(request(host))
    hold.reached()
    drawing = manager.snapshot(id)
    assert (drawing.stage, drawing.drew_before) == (Stage("draws the pictures before", 2, 8), False)
    assert drawing.message == "draws the pictures before: 2 of 8"
    if wish == "discard":
        manager.discard(id)
    else:
        host.interrupt = True
    hold.release()
    if wish == "interrupt":
        stopped = manager.wait(id, ["stopped"], PATIENCE)
        assert (stopped.step, more) == (0, [])
        assert not host.lock.locked()
        manager.delete(id)
    ends(manager, manager.submit(request(host, "next")))
    assert more == ["drawn"]  # by the job after it


def test_a_job_discarded_while_its_lora_is_written_leaves_none(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    hold = run.hold("finish")
    id = manager.submit(request(host))
    hold.reached()
    manager.discard(id)
    hold.release()
    run.at.clear()
    ends(manager, manager.submit(request(host, "next")))
    assert not list(host.lora_folder().glob("gone*"))
    assert not (host.data_folder() / "runs" / id).exists()


@pytest.mark.parametrize("wish", ["pause", "close"])
def test_a_job_whose_lora_is_being_written_is_done_whatever_is_wished(
    host: FakeHost, manager: JobManager, run: ScriptedRun, wish: str
) -> None:
    hold = run.hold("finish")
    id = manager.submit(request(host))
    hold.reached()
    if wish == "pause":
        manager.pause(id)
        hold.release()
    else:
        threading.Timer(0.05, hold.release).start()
        manager.close()
    done = manager.wait(id, timeout=PATIENCE)
    assert (done.state, done.result is not None) == ("done", True)
    assert (host.lora_folder() / "gone.json").exists()


def test_deleting_a_run_keeps_its_lora(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    hold = run.hold(2)
    id = manager.submit(request(host))
    hold.reached()
    with pytest.raises(JobConflict, match="running"):
        manager.delete(id)
    hold.release()
    ends(manager, id)
    manager.delete(id)
    with pytest.raises(JobNotFound):
        manager.delete(id)
    assert (host.lora_folder() / "gone.safetensors").exists()
    assert not (host.data_folder() / "runs" / id).exists()


def test_what_a_state_does_not_allow_is_refused_and_repeating_is_no_error(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    hold = run.hold(2)
    id = manager.submit(request(host))
    hold.reached()
    manager.resume(id)
    manager.pause(id)
    manager.pause(id)
    hold.release()
    manager.wait(id, ["paused"], PATIENCE)
    manager.pause(id)
    run.at.clear()
    manager.resume(id)
    ends(manager, id)
    for action in (manager.pause, manager.resume, manager.stop, manager.discard):
        with pytest.raises(JobConflict, match="gone is done"):
            action(id)
    every: list[Callable[[str], object]] = [
        manager.pause,
        manager.resume,
        manager.stop,
        manager.discard,
        manager.delete,
    ]
    for asked in (*every, manager.lora_path):
        with pytest.raises(JobNotFound):
            asked("../../etc")


# --- jobs of earlier versions


def test_a_job_of_version_0_1_0_is_looked_at_resumed_and_deleted(host: FakeHost, run: ScriptedRun) -> None:
    """It kept sheets of pictures instead of pictures."""
    folder = RunFolder(host.data_folder() / "runs" / "20260101-120000-abcdef")
    config = request(host).config
    out = host.lora_folder() / "gone.safetensors"
    origin = Origin(str(host.checkpoint), sha256(host.checkpoint), short_hash(host.checkpoint), str(out), 1.0)
    folder.create(origin, config)
    write_record(folder, Record("gone", str(host.checkpoint), str(out), config.to_dict(), {}, 1.0, "stopped"))
    step = {"step": 2, "steps": 4, "erase_loss": 1.0, "preserve_loss": 0.5, "erased": ["church"], "preserved": ["bus"]}
    events = [
        {"event": "step", **step, "learning_rate": 1e-4, "rows": 16, "seconds": 2.0},
        {"event": "preview", "step": 2, "path": "step-000002.png"},
        {"event": "saved", "step": 2, "path": "state.safetensors", "final": False, "change": None},
    ]
    (folder.path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    folder.sheet(2).parent.mkdir()
    Image.new("RGB", (200, 100), "red").save(folder.path / "previews" / "step-000002.png")
    Image.new("RGB", (64, 16), "red").save(folder.path / "before.png")
    save_state(folder.path / "state.safetensors", {"w": torch.zeros(1)}, {"step": 2})

    manager = JobManager(host)
    (job,) = manager.snapshots()
    assert (job.state, job.step, job.previews, job.series["erase"]) == ("stopped", 2, (2,), ((2, 1.0),))
    assert manager.preview(job.id, 2).sheet().size == (200, 100)
    manager.resume(job.id)
    ends(manager, job.id)
    assert run.started_at == [2]
    assert manager.snapshot(job.id).previews == (2, 4)
    assert manager.preview(job.id, 4).rows()
    manager.delete(job.id)
    assert not folder.path.exists()
    manager.close()
