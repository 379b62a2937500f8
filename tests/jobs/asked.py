"""What the tests of jobs ask for, and how they wait for it."""

from __future__ import annotations

import time

from erasure.config.values import config_from_dict
from erasure.jobs.job import JobRequest, JobState
from erasure.jobs.manager import JobManager
from tests.fake_host import FakeHost
from tests.jobs.scripted_run import PATIENCE


def request(host: FakeHost, name: str = "gone", **changes: object) -> JobRequest:
    return JobRequest(host.checkpoint, name, config_from_dict({"erase": ["church"], "steps": 4, **changes}))


def ends(manager: JobManager, id: str, state: JobState = "done") -> None:
    found = manager.wait(id, timeout=PATIENCE)
    assert (found.state, found.problem) == (state, "")


def until_it_says(manager: JobManager, id: str, message: str) -> None:
    """Wait until the job's message is this one."""
    last = time.monotonic() + PATIENCE
    while manager.snapshot(id).message != message:
        assert time.monotonic() < last, f"it says {manager.snapshot(id).message!r}"
        time.sleep(0.005)
