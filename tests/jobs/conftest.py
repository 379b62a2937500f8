from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from erasure.jobs.manager import JobManager
from tests.fake_host import FakeHost
from tests.jobs.scripted_run import ScriptedRun


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    return FakeHost(tmp_path, tiny_checkpoint)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ScriptedRun:
    return ScriptedRun(monkeypatch)


@pytest.fixture
def manager(host: FakeHost, run: ScriptedRun) -> Iterator[JobManager]:
    made = JobManager(host)
    yield made
    made.close()
