"""Looking for nearby concepts beside the queue: how far it is, who gets the device, how it ends, what is remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.errors import ConceptError, JobConflict
from erasure.jobs.manager import JobManager
from erasure.jobs.searching import SearchSnapshot
from erasure.model.stage import Stage
from tests.fake_host import FakeHost
from tests.jobs.asked import request, until_it_says
from tests.jobs.scripted_run import PATIENCE, Hold, ScriptedRun
from tests.spaces import space_of


class ScriptedSearch:
    """Finds by script: ``hold`` is called between two stages, or raises what the search should fail with."""

    def __init__(self) -> None:
        self.hold: Any = lambda: None
        self.begun = 0

    def __call__(self, model: object, config: EraseConfig) -> Generator[Stage, None, ConceptSpace]:
        self.begun += 1
        yield Stage("compares words with church", 40, 100)
        self.hold()
        yield Stage("judges which words mean church", 1, 2)
        return space_of(*config.erase)


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> ScriptedSearch:
    made = ScriptedSearch()
    monkeypatch.setattr("erasure.concepts.build.space_steps", made)
    monkeypatch.setattr("erasure.model.model.open_model", lambda *_, **__: None)
    monkeypatch.setattr("erasure.jobs.errand.free_memory", lambda: None)
    return made


@pytest.fixture
def held(script: ScriptedSearch) -> Iterator[Hold]:
    """Holds the search until the test lets it go on, at the latest when it ends."""
    script.hold = hold = Hold()
    yield hold
    hold.release()


def ended(manager: JobManager) -> SearchSnapshot:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shown = manager.search_snapshot()
        if shown is not None and shown.state != "searching":
            return shown
        time.sleep(0.005)
    raise AssertionError(f"still at it: {manager.search_snapshot()}")


def asked(host: FakeHost, **changes: object) -> tuple[Any, EraseConfig]:
    order = request(host, "gone", **changes)
    return order.checkpoint, order.config


def test_a_search_says_how_far_it_is_and_what_it_finds_is_known(
    host: FakeHost, manager: JobManager, held: Hold, script: ScriptedSearch
) -> None:
    assert manager.search_snapshot() is None
    assert manager.known_concepts(*asked(host)) is None
    manager.search(*asked(host))
    held.reached()
    shown = manager.search_snapshot()
    assert shown is not None
    assert (shown.state, shown.erase) == ("searching", ("church",))
    assert shown.message == "compares words with church: 40 of 100"
    assert shown.stage == Stage("compares words with church", 40, 100)
    held.release()
    done = ended(manager)
    assert (done.state, done.message, done.stage) == ("done", "", None)
    assert done.version > shown.version
    assert manager.known_concepts(*asked(host)) == space_of("church").to_dict()
    assert host.calls == ["enter", "leave"]
    assert host.reports == [(40, 100, "compares words with church: 40 of 100"),
                            (1, 2, "judges which words mean church: 1 of 2")]  # fmt: skip
    manager.search(*asked(host, rank=2, steps=9))
    assert script.begun == 1, "settings that decide nothing about it"


def test_a_second_click_changes_nothing_and_another_search_is_refused(
    host: FakeHost, manager: JobManager, held: Hold, script: ScriptedSearch
) -> None:
    manager.search(*asked(host))
    held.reached()
    manager.search(*asked(host))
    with pytest.raises(JobConflict, match="nearby concepts are being looked for"):
        manager.search(*asked(host, erase=["bell"]))
    held.release()
    assert ended(manager).state == "done"
    assert script.begun == 1


def test_a_search_can_be_cancelled_and_gives_the_device_back(
    host: FakeHost, manager: JobManager, held: Hold, script: ScriptedSearch
) -> None:
    with pytest.raises(JobConflict, match="not being looked for"):
        manager.cancel_search()
    manager.search(*asked(host))
    held.reached()
    manager.cancel_search()
    held.release()
    assert ended(manager).state == "cancelled"
    assert manager.known_concepts(*asked(host)) is None
    assert host.calls == ["enter", "leave"]
    script.hold = lambda: None
    assert manager.concepts(*asked(host)) == space_of("church").to_dict()


def test_who_waits_for_the_same_search_gets_what_it_finds(host: FakeHost, manager: JobManager, held: Hold) -> None:
    manager.search(*asked(host))
    held.reached()
    found: list[Any] = []
    waiting = [
        threading.Thread(target=lambda erase=erase: found.append(manager.concepts(*asked(host, erase=[erase]))))
        for erase in ("church", "bell")
    ]
    for thread in waiting:
        thread.start()
    held.release()
    for thread in waiting:
        thread.join(PATIENCE)
    assert sorted(space["targets"][0]["target"] for space in found) == ["bell", "church"]


def test_who_waits_for_a_search_that_is_cancelled_is_told(host: FakeHost, manager: JobManager, held: Hold) -> None:
    problems: list[str] = []

    def ask() -> None:
        try:
            manager.concepts(*asked(host))
        except JobConflict as error:
            problems.append(str(error))

    waiting = threading.Thread(target=ask)
    waiting.start()
    held.reached()
    manager.cancel_search()
    held.release()
    waiting.join(PATIENCE)
    assert problems == ["looking for nearby concepts was cancelled; ask again"]


def test_a_failure_is_told_here_and_to_who_waits(host: FakeHost, manager: JobManager, script: ScriptedSearch) -> None:
    def fails() -> None:
        raise ConceptError("nothing is left to preserve")

    script.hold = fails
    with pytest.raises(ConceptError, match="nothing is left"):
        manager.concepts(*asked(host))
    shown = ended(manager)
    assert (shown.state, shown.problem) == ("failed", "nothing is left to preserve")
    script.hold = lambda: None
    manager.search(*asked(host))
    assert ended(manager).state == "done"


def test_a_job_waits_for_the_search_and_no_search_begins_while_a_job_has_the_device(
    host: FakeHost, manager: JobManager, held: Hold, run: ScriptedRun
) -> None:
    at = run.hold(2)
    manager.search(*asked(host))
    held.reached()
    id = manager.submit(request(host))
    until_it_says(manager, id, "waits for the device")
    held.release()
    at.reached()
    with pytest.raises(JobConflict, match="gone is using the device"):
        manager.search(*asked(host, erase=["bell"]))
    at.release()
    assert manager.wait(id, timeout=PATIENCE).state == "done"


def test_the_end_of_the_program_ends_a_search(host: FakeHost, manager: JobManager, held: Hold) -> None:
    manager.search(*asked(host))
    held.reached()
    threading.Timer(0.1, held.release).start()
    manager.close()
    assert ended(manager).state == "cancelled"
    with pytest.raises(JobConflict, match="the program is ending"):
        manager.search(*asked(host))
