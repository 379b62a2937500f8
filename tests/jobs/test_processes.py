"""Jobs and the processes that run them: killed, closed, two at once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from erasure.errors import EraseError, JobConflict, JobNotFound
from erasure.jobs.claim import Claim
from erasure.jobs.job import ACTIVE, FINISHED
from erasure.jobs.manager import JobManager
from erasure.jobs.record import read_record, write_record
from erasure.run.folder import RunFolder
from tests.fake_host import FakeHost
from tests.jobs.asked import ends, request
from tests.jobs.scripted_run import PATIENCE, ScriptedRun

pytestmark = pytest.mark.slow

KILLED_AT_STEP_2 = """
import os, sys
from pathlib import Path
import pytest
from erasure.jobs.manager import JobManager
from tests.fake_host import FakeHost
from tests.jobs.asked import request
from tests.jobs.scripted_run import ScriptedRun

host = FakeHost(Path(sys.argv[1]), Path(sys.argv[2]))
run = ScriptedRun(pytest.MonkeyPatch())
run.at[3] = lambda: os._exit(9)
manager = JobManager(host, start=False)
first = manager.submit(request(host, "first"))
manager.submit(request(host, "second"))
manager.start()
manager.wait(first, timeout=60)
"""


def test_a_killed_process_leaves_jobs_that_can_be_resumed(host: FakeHost, run: ScriptedRun) -> None:
    command = [sys.executable, "-c", KILLED_AT_STEP_2, str(host.root), str(host.checkpoint)]
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, check=False
    )
    assert killed.returncode == 9, killed.stderr
    manager = JobManager(host)
    second, first = manager.snapshots()
    assert [(job.name, job.state, job.step) for job in (first, second)] == [
        ("first", "interrupted", 2),
        ("second", "interrupted", 0),
    ]
    assert first.actions == ("resume", "delete")
    assert first.message == "interrupted after update 2 of 4; it can be resumed"
    assert [step for step, _ in first.series["erase"]] == [1, 2]
    for job in (first, second):
        manager.resume(job.id)
        ends(manager, job.id)
    assert run.started_at == [0, 0]
    manager.close()


def test_closing_saves_a_run_that_the_next_process_resumes(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    hold = run.hold(3)
    id, waiting = manager.submit(request(host)), manager.submit(request(host, "waiting"))
    hold.reached()
    threading.Timer(0.05, hold.release).start()
    manager.close()
    assert manager.snapshot(id).state == "interrupted"
    assert not list(host.lora_folder().glob("*"))
    for refused in (manager.pause, manager.resume, manager.stop):
        with pytest.raises(JobConflict, match="ending"):
            refused(id)
    with pytest.raises(JobConflict, match="ending"):
        manager.submit(request(host, "late"))
    run.at.clear()
    after = JobManager(host)
    assert {job.state for job in after.snapshots()} == {"interrupted"}
    after.resume(id)
    ends(after, id)
    assert run.started_at == [0, 3]
    after.resume(waiting)
    ends(after, waiting)
    after.close()


def test_closing_does_not_wait_for_a_device_that_others_have(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    with host.lock:
        id = manager.submit(request(host))
        manager.wait(id, ["preparing"], PATIENCE)
        closing = threading.Thread(target=manager.close)
        closing.start()
        closing.join(PATIENCE / 2)
        assert not closing.is_alive()
    ends(manager, id, "interrupted")
    assert run.started_at == []


def test_a_job_that_another_process_works_on_is_left_to_it(host: FakeHost, manager: JobManager) -> None:
    id = manager.submit(request(host))
    ends(manager, id)
    folder = RunFolder(host.data_folder() / "runs" / id)
    other = Claim(folder)
    assert other.take()
    with pytest.raises(JobConflict, match="another program"):
        manager.delete(id)
    assert folder.path.exists()
    record = read_record(folder)
    write_record(folder, type(record)(**{**vars(record), "state": "running"}))
    assert JobManager(host, start=False).snapshots() == []
    other.free()
    assert [job.state for job in JobManager(host, start=False).snapshots()] == ["interrupted"]


def test_a_run_deleted_by_another_program_is_not_found(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    run.fail(2, MemoryError())
    id = manager.submit(request(host))
    manager.wait(id, timeout=PATIENCE)
    for path in sorted((host.data_folder() / "runs" / id).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (host.data_folder() / "runs" / id).rmdir()
    with pytest.raises(JobNotFound, match="deleted"):
        manager.resume(id)
    assert manager.snapshots() == []


def test_what_is_on_disk_shows_like_the_job_itself(host: FakeHost, manager: JobManager) -> None:
    id = manager.submit(request(host))
    ends(manager, id)
    live, after = manager.snapshot(id).to_dict(), JobManager(host, start=False)
    assert {**after.snapshot(id).to_dict(), "version": live["version"]} == live


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "sleeping", "created": "yesterday", "notes": 7, "result": [1], "config": None},
        {"state": ["done"], "config": {"erase": 5, "colour": "red"}, "result": {"size": "big", "change": "much"}},
    ],
)
def test_a_record_that_was_tampered_with_can_be_looked_at_and_deleted(
    host: FakeHost, manager: JobManager, damage: dict[str, object]
) -> None:
    id = manager.submit(request(host))
    ends(manager, id)
    folder = host.data_folder() / "runs" / id
    values = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**values, **damage}))
    with (folder / "events.jsonl").open("a") as log:
        log.write('{"event": "step", "step": "x"}\n[1]\n{"event": "preview"}\n{"event": "pla')
    after = JobManager(host, start=False)
    assert after.snapshot(id).state == "failed"
    assert json.dumps(after.snapshot(id).to_dict())
    after.delete(id)
    assert not folder.exists()


def test_a_job_of_another_version_is_shown_from_what_its_record_says(host: FakeHost, manager: JobManager) -> None:
    id = manager.submit(request(host, templates=["{}", "a picture of a {}"], batch=2))
    ends(manager, id)
    folder = host.data_folder() / "runs" / id
    values = json.loads((folder / "job.json").read_text())
    values["config"]["colour"] = "red"
    (folder / "job.json").write_text(json.dumps(values))
    live, shown = manager.snapshot(id), JobManager(host, start=False).snapshot(id)
    assert shown.config == {**live.config, "colour": "red"}
    assert (shown.asked, shown.steps, shown.picks, shown.state) == (live.asked, live.steps, live.picks, "done")


def test_a_record_of_an_older_version_says_what_must_have_been_asked_for(host: FakeHost, manager: JobManager) -> None:
    id = manager.submit(request(host, method="esd-u"))
    ends(manager, id)
    folder = host.data_folder() / "runs" / id
    values = json.loads((folder / "job.json").read_text())
    del values["asked"]
    (folder / "job.json").write_text(json.dumps(values))
    assert JobManager(host, start=False).snapshot(id).asked == {"erase": ["church"], "method": "esd-u", "steps": 4}


def test_a_record_that_cannot_be_read_hides_no_other(host: FakeHost, manager: JobManager) -> None:
    id = manager.submit(request(host))
    ends(manager, id)
    for name, text in (("broken", "{"), ("list", "[]")):
        (host.data_folder() / "runs" / name).mkdir()
        (host.data_folder() / "runs" / name / "job.json").write_text(text)
    assert [job.id for job in JobManager(host, start=False).snapshots()] == [id]


def test_looking_at_a_live_job_reads_no_file(
    host: FakeHost, manager: JobManager, run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = run.hold(3)
    id = manager.submit(request(host))
    hold.reached()

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a file was opened")

    with monkeypatch.context() as patched:
        for name in ("open", "read_text", "exists", "is_file", "glob", "stat"):
            patched.setattr(Path, name, refuse)
        assert manager.snapshot(id).step == 2
        assert manager.snapshots()[0].to_dict()["step"] == 2
    hold.release()
    ends(manager, id)


def test_following_a_job_returns_at_its_next_change(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    hold = run.hold(3)
    id = manager.submit(request(host))
    hold.reached()
    seen = manager.snapshot(id)
    assert manager.follow(id, seen.version, 0.01) == seen
    assert manager.follow(id, seen.version - 1, PATIENCE) == seen
    hold.release()
    assert manager.follow(id, seen.version, PATIENCE).version > seen.version
    ends(manager, id)


def test_actions_at_any_moment_from_any_thread_leave_a_manager_that_works(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    """Eight jobs, three threads that press everything there is: no other errors than the foreseen, no lock held."""
    unforeseen: list[BaseException] = []
    ids = [manager.submit(request(host, f"job-{i}")) for i in range(8)]

    def press(seed: int) -> None:
        choose = random.Random(seed)
        actions = (manager.pause, manager.resume, manager.stop, manager.discard, manager.delete, manager.snapshot)
        for _ in range(100):
            try:
                choose.choice(actions)(choose.choice(ids))
            except EraseError:
                pass
            except BaseException as error:
                unforeseen.append(error)

    threads = [threading.Thread(target=press, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for id in ids:
        try:
            while manager.wait(id, ("paused", *FINISHED), PATIENCE).state in ACTIVE:
                manager.discard(id)
        except JobNotFound:
            continue
        assert manager.snapshot(id).problem == ""
    assert unforeseen == []
    ends(manager, manager.submit(request(host, "after")))
    assert not host.lock.locked()
    assert host.calls.count("enter") == host.calls.count("leave")
