"""What the tests of jobs ask for, and how they wait for it."""

from __future__ import annotations

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
